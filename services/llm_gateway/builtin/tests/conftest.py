"""Makes the reference printer and the tests' own harness importable, and starts the writer."""

from __future__ import annotations

import pathlib
import sys
from collections.abc import Iterator

import pytest
import torch

HERE = pathlib.Path(__file__).resolve().parent
for path in (HERE, HERE.parents[2] / "worker"):
    if str(path) not in sys.path:
        sys.path.insert(0, str(path))

import harness  # noqa: E402  found by the path above


@pytest.fixture(scope="module")
def writer() -> Iterator[harness.Writer]:
    """The writer's process, one for each file of tests; inputs are the same in every run."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    process = harness.Writer()
    yield process
    process.close()
