"""What the parent does once so that children need not: load kernels, tables and lazily imported modules."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from typing import Any

import torch

from nkiagent_worker.reference import graph, handler

# A task like any other, so that a child's first steps are behind it when a real one comes.
_TASK = """
import torch
import torch.nn as nn
class Model(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.linear = nn.Linear(width, width)
    def forward(self, x):
        return torch.softmax(self.linear(x), dim=-1)
def get_inputs():
    return [torch.randn(64, 512)]
def get_init_inputs():
    return [512]
"""
_SPEC = {"role": "input", "dims": [64, 512], "reference_dtype": "float32", "reference_name": "x"}
_RUN = {
    "op": "run",
    "source": _TASK,
    "weight_seed": 0,
    "trials": [{"seed": 0, "family": "drawn"}],
    "arguments": [_SPEC],
    "outputs": [{**_SPEC, "role": "output"}],
    "slots": [],
}
WARM_UP_RUNS = 10


class _Tiny(torch.nn.Module):
    """Touches the main families of kernels: BLAS, oneDNN, vectorised loops, reductions."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = torch.nn.Linear(8, 8)
        self.conv = torch.nn.Conv2d(1, 1, 3, padding=1)
        self.norm = torch.nn.LayerNorm(8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.nn.functional.gelu(self.norm(self.linear(x)))
        y = self.conv(y.reshape(1, 1, 8, 8)).reshape(8, 8)
        y = torch.softmax(y @ y.transpose(0, 1), dim=-1)
        return y.sum(dim=1, keepdim=True) * torch.exp(x) + torch.tanh(x).mean()


def warm_up() -> None:
    """Runs and exports one small module. No thread may start here: children are forked from this process."""
    torch.set_num_threads(1)
    torch.set_num_interop_threads(1)
    # Deterministic kernels where there are such; the others are found out by running twice.
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.manual_seed(0)
    model = _Tiny().eval()
    x = torch.randn(8, 8)
    with torch.no_grad():
        model(x)
        torch.randint(0, 4, (4,)), torch.rand(4).to(torch.bfloat16).float(), torch.equal(x, x)
    graph.export(model, (x,))
    # Often enough for the interpreter to specialise the handler's code for what it sees (PEP 659).
    for _ in range(WARM_UP_RUNS):
        _run_sample(handler.run)


def _run_sample(operation: Callable[[dict[str, Any], list[int]], dict[str, Any]]) -> None:
    fds = [os.memfd_create("prepare", os.MFD_CLOEXEC) for _ in range(3)]
    for fd in fds:
        os.ftruncate(fd, 1 << 20)
    reply = operation(_RUN, fds)
    if "problem" in reply:
        raise RuntimeError(f"the preparation of a child fails: {reply}")
    for fd in fds:
        os.close(fd)


def prepare_child() -> None:
    """Runs a small task in a fresh child: copies the pages that any task writes, starts the threads."""
    _run_sample(lambda request, fds: json.loads(handler.handle(json.dumps(request).encode(), fds)))
