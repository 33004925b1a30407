"""Runs a kernel on the CPU in this process: trace, then execution of the program."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from . import dtypes
from .errors import Diagnostic


class KernelError(Exception):
    """A kernel that can't be compiled or executed; `diagnostics` tells why."""

    def __init__(self, name: str, diagnostics: list[Diagnostic]):
        self.diagnostics = diagnostics
        lines = [
            f"  line {d.line}, col {d.column}: {d.severity}[{d.rule}] {d.message}"
            + (f" (limit: {d.limit}; actual: {d.actual})" if d.limit or d.actual else "")
            + (f" fix: {d.hint}" if d.hint else "")
            for d in diagnostics
        ]
        super().__init__(f"kernel {name}:\n" + "\n".join(lines))


def run(kernel: Any, args: tuple, kwargs: dict) -> Any:
    """Calls a Kernel with NumPy arrays."""
    for a in (*args, *kwargs.values()):
        if hasattr(a, "__array__") and not isinstance(a, (np.ndarray, np.generic)):
            raise TypeError(f"kernel {kernel.__name__} takes NumPy arrays, not {type(a).__name__}")
    positional, keywords, arrays = kernel.bind(args, kwargs)
    traced = kernel.trace_bound(positional, keywords)
    if not traced.ok:
        raise KernelError(kernel.__name__, traced.diagnostics)
    found = check(traced.program)
    if any(d.severity == "error" for d in found):
        raise KernelError(kernel.__name__, found)
    for d in traced.diagnostics:
        if d.rule == "err_unsupported_memory":
            warnings.warn(f"kernel {kernel.__name__}, line {d.line}: {d.message}", stacklevel=4)
    outputs = [np.empty(o.shape, dtypes.normalize(o.dtype)) for o in traced.outputs]
    execute(kernel.__name__, traced.program, [np.ascontiguousarray(a) for a in arrays], outputs)
    for k, source in enumerate(traced.in_place):
        if source is not None:
            np.copyto(arrays[source], outputs[k].reshape(arrays[source].shape))
            outputs[k] = arrays[source]
    results = outputs[: traced.returned]
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
        raise KernelError(name, [Diagnostic(**d) for d in report["diagnostics"]])
    return report


def _bytes(a: np.ndarray) -> np.ndarray:
    return a.reshape(-1).view(np.uint8)
