"""Warm parent of the role `trace`: kernel source in, program or diagnostics out. No torch, no data.

Started by compile-service as `python -m nkiagent_worker.trace_main`.
"""

from __future__ import annotations

from nkiagent_worker import warm

WARM_UP_TRACES = 10


def load() -> warm.Role:
    """Imports the tracer; its `handle(payload: bytes) -> bytes` is the whole role."""
    from nkiagent_worker import trace, trace_warmup

    def handler(payload: bytes, fds: list[int]) -> bytes:
        del fds  # A kernel is traced from shapes and dtypes alone.
        return trace.handle(payload)

    # In the parent: often enough for the interpreter to specialise the code for what it sees (PEP 659).
    for _ in range(WARM_UP_TRACES):
        trace_warmup.trace_once()
    return warm.Role(handler, trace_warmup.trace_once)


if __name__ == "__main__":
    warm.run_parent("python", load)
