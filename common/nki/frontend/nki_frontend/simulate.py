"""Runs a kernel on the CPU in this process: trace, then execution of the program."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from . import dtypes, torch_bridge
from .errors import Diagnostic

# What the SDK's simulator, which runs the programs of a grid one after the other, does not mind. A warning
# says that the compiler does.
_TOLERATED = frozenset({"err_unexpected_output_dependencies"})


class KernelError(Exception):
    """A kernel that can't be compiled or executed; `diagnostics` tells why."""

    def __init__(self, name: str, diagnostics: list[Diagnostic], report: dict | None = None):
        self.diagnostics = diagnostics
        self.report = report or {}  # the executor's, if it got so far
        lines = [
            f"  line {d.line}, col {d.column}: {d.severity}[{d.rule}] {d.message}"
            + (f" (limit: {d.limit}; actual: {d.actual})" if d.limit or d.actual else "")
            + (f" fix: {d.hint}" if d.hint else "")
            for d in diagnostics
        ]
        super().__init__(f"kernel {name}:\n" + "\n".join(lines))


def run(kernel: Any, args: tuple, kwargs: dict) -> Any:
    """Calls a Kernel with NumPy arrays or torch tensors; where there is a tensor, the results are tensors."""
    tensors = [a for a in (*args, *kwargs.values()) if torch_bridge.is_tensor(a)]
    for a in (*args, *kwargs.values()):
        known = isinstance(a, (np.ndarray, np.generic)) or torch_bridge.is_tensor(a)
        if hasattr(a, "__array__") and not known:
            raise TypeError(
                f"kernel {kernel.__name__} takes NumPy arrays and torch tensors, not {type(a).__name__}"
            )
    positional, keywords, arrays = kernel.bind(args, kwargs)
    traced = kernel.trace_bound(positional, keywords)
    if not traced.ok:
        raise KernelError(kernel.__name__, traced.diagnostics)
    found = check(traced.program)
    tolerated = _TOLERATED if kernel.simulated else frozenset()
    if any(d.severity == "error" and d.rule not in tolerated for d in found):
        raise KernelError(kernel.__name__, found)
    for d in (*traced.diagnostics, *found):
        if d.rule == "err_unsupported_memory" or d.rule in tolerated:
            warnings.warn(f"kernel {kernel.__name__}, line {d.line}: {d.message}", stacklevel=4)
    if not kernel.runs_on((*args, *kwargs.values())):
        kernel.finished(traced.program)
        return None
    outputs = [np.empty(o.shape, dtypes.normalize(o.dtype)) for o in traced.outputs]
    try:
        execute(kernel.__name__, traced.program, [np.ascontiguousarray(a) for a in arrays], outputs)
    except KernelError as e:
        if not e.report["fault_elements"]:
            raise
        # What the SDK's simulator raises, which indexes the tensor as one row; `e` names the line.
        raise IndexError(
            f"index {e.report['fault_element']} is out of bounds for axis 0 with size "
            f"{e.report['fault_elements']}"
        ) from e
    for k, source in enumerate(traced.in_place):
        if source is not None:
            np.copyto(arrays[source], outputs[k].reshape(arrays[source].shape))
            outputs[k] = arrays[source]
    kernel.finished(traced.program)
    results = outputs[: traced.returned]
    if tensors:
        results = [torch_bridge.from_numpy(r) for r in results]
    return results[0] if len(results) == 1 else tuple(results) or None


def check(program: bytes) -> list[Diagnostic]:
    """The rules that a whole program must keep."""
    import _nki_exec

    return [Diagnostic(**d) for d in _nki_exec.check(program)]


def execute(name: str, program: bytes, inputs: list[np.ndarray], outputs: list[np.ndarray]) -> dict:
    """Executes a program; returns the executor's report."""
    import _nki_exec

    report = _nki_exec.execute(program, [_bytes(a) for a in inputs], [_bytes(a) for a in outputs])
    if not report["completed"]:
        raise KernelError(name, [Diagnostic(**d) for d in report["diagnostics"]], report)
    return report


def _bytes(a: np.ndarray) -> np.ndarray:
    return a.reshape(-1).view(np.uint8)
