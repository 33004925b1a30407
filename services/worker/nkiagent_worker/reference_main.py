"""Warm parent of the role `reference`: runs PyTorch modules of strangers, each in a child of its own.

Started by verify-service as `python -m nkiagent_worker.reference_main`.
"""

from __future__ import annotations

from nkiagent_worker import warm


def load() -> warm.Role:
    """Imports torch and runs what is slow the first time, on one thread."""
    from nkiagent_worker.reference import handler, warmup

    warmup.warm_up()
    return warm.Role(handler.handle, warmup.prepare_child)


if __name__ == "__main__":
    warm.run_parent("torch", load)
