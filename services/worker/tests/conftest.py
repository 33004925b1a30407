"""Fixtures: real warm parents, started once for all tests."""

from __future__ import annotations

import fcntl
import json
import os
import pathlib
import sys
from collections.abc import Iterator
from typing import Any

import nki_sandbox
import pytest

HERE = pathlib.Path(__file__).resolve().parent
F_ADD_SEALS, F_SEAL_SHRINK, F_SEAL_GROW = 1033, 2, 4


def start_parent(name: str, module: str, safe_path: bool = True) -> nki_sandbox.WarmParent:
    """A warm parent that runs a Python module, with the environment that services give."""
    frontend = HERE.parents[2] / "common" / "nki" / "frontend"
    search_path = [HERE.parent, HERE, frontend, pathlib.Path(nki_sandbox.__file__).parent]
    environment = [
        "PYTHONPATH=" + ":".join(str(path) for path in search_path),
        *(["PYTHONSAFEPATH=1"] if safe_path else []),
        "PYTHONDONTWRITEBYTECODE=1",
        "OMP_NUM_THREADS=1",
        "MKL_NUM_THREADS=1",
        "OPENBLAS_NUM_THREADS=1",
        "OMP_WAIT_POLICY=passive",
        "PYTHONMALLOC=malloc",
        "GLIBC_TUNABLES=glibc.malloc.hugetlb=1",
        "HOME=/tmp",
        "USER=nobody",
    ]
    return nki_sandbox.WarmParent(name, [sys.executable, "-m", module], environment, ready_children=1)


@pytest.fixture(scope="session")
def python_parent() -> nki_sandbox.WarmParent:
    """Runs any Python text that it is sent."""
    return start_parent("hostile", "hostile_main")


@pytest.fixture(scope="session")
def reference_parent() -> nki_sandbox.WarmParent:
    """The reference role."""
    return start_parent("reference", "nkiagent_worker.reference_main")


class Reference:
    """The two operations of the reference role as calls."""

    # Room for each arena; memory that nobody writes costs nothing.
    ARENA_BYTES = 64 << 20

    def __init__(self, parent: nki_sandbox.WarmParent) -> None:
        self.parent = parent
        self.fds: list[int] = []

    def arena(self) -> int:
        """A new shared memory of fixed size."""
        fd = os.memfd_create("arena", os.MFD_ALLOW_SEALING | os.MFD_CLOEXEC)
        os.ftruncate(fd, self.ARENA_BYTES)
        fcntl.fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW)
        self.fds.append(fd)
        return fd

    def outcome(self, request: dict[str, Any], fds: list[int], **limits: Any) -> dict[str, Any]:
        """The outcome of one request, whatever it is."""
        return self.parent.run(json.dumps(request).encode(), fds, **limits)

    def describe(self, source: str, **limits: Any) -> dict[str, Any]:
        """The reply to `describe`, with the arena of the parameters under "fd"."""
        fd = self.arena()
        outcome = self.outcome(
            {"op": "describe", "source": source, "weight_seed": 0, "seed": 1}, [fd], **limits
        )
        assert outcome["kind"] == "ok", (outcome["kind"], outcome["detail"], outcome["reply"].decode())
        return {**json.loads(outcome["reply"]), "fd": fd}

    def run(
        self, source: str, facts: dict[str, Any], seeds: list[int], families: tuple[str, ...] = ("drawn",)
    ) -> dict[str, Any]:
        """The reply to `run`, with the arenas of each trial under "fds"; each seed with each family."""
        trials = [{"seed": seed, "family": family} for family in families for seed in seeds]
        fds = [facts["fd"]] + [self.arena() for _ in range(2 * len(trials))]
        request = {"op": "run", "source": source, "weight_seed": 0, "trials": trials}
        request |= {key: facts[key] for key in ("arguments", "outputs", "slots")}
        outcome = self.outcome(request, fds)
        assert outcome["kind"] == "ok", (outcome["kind"], outcome["detail"], outcome["reply"].decode())
        return {**json.loads(outcome["reply"]), "fds": fds}


@pytest.fixture
def reference(reference_parent: nki_sandbox.WarmParent) -> Iterator[Reference]:
    """The reference role; its arenas are closed after the test."""
    reference = Reference(reference_parent)
    yield reference
    for fd in reference.fds:
        os.close(fd)
