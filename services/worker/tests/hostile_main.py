"""A warm parent for tests that runs any Python text it is sent and returns the variable `answer`."""

from __future__ import annotations

from nkiagent_worker import warm


def load() -> warm.Role:
    """Nothing to import."""

    def handle(payload: bytes, fds: list[int]) -> bytes:
        names: dict[str, object] = {"fds": fds}
        exec(payload.decode(), names)
        return str(names.get("answer", "")).encode()

    return warm.Role(handle)


if __name__ == "__main__":
    warm.run_parent("python", load)
