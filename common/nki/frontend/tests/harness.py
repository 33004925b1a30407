"""Traces, checks and executes kernel files for the tests."""

from __future__ import annotations

import pathlib
import textwrap

import numpy as np

from nki_frontend import dtypes
from nki_frontend.simulate import check, execute
from nki_frontend.source import load, trace_source
from nki_frontend.tracer import TensorSpec, Traced

KERNELS = pathlib.Path(__file__).parent / "kernels"
HEAD = """\
import neuronxcc.nki as nki
import neuronxcc.nki.compiler as ncc
import neuronxcc.nki.isa as nisa
import neuronxcc.nki.language as nl
import neuronxcc.nki.typing as nt
import numpy as np

"""


def specs(arrays, source: str, entry: str = "nki_kernel") -> list[TensorSpec]:
    """Specs of arrays, named as the kernel's parameters."""
    code = load(source)[entry].function.__code__
    return [TensorSpec(name, a.shape, a.dtype) for name, a in zip(code.co_varnames, arrays, strict=False)]


def trace(source: str, arrays=(), grid: tuple = ()) -> Traced:
    """Traces `nki_kernel` of a source text for arrays."""
    try:
        named = specs(arrays, source)
    except Exception:  # noqa: BLE001  the trace itself tells what is wrong with the source
        named = [TensorSpec(f"x{i}", a.shape, a.dtype) for i, a in enumerate(arrays)]
    return trace_source(source, "nki_kernel", named, grid=grid, max_instructions=10_000)


def run(source: str, arrays, grid: tuple = (), seed: int = 0) -> list[np.ndarray]:
    """Traces, checks and executes; no errors allowed on the way."""
    traced = trace(source, arrays, grid)
    assert traced.ok, traced.diagnostics
    errors = [d for d in check(traced.program) if d.severity == "error"]
    assert not errors, errors
    outputs = [np.zeros(o.shape, dtypes.normalize(o.dtype)) for o in traced.outputs]
    report = execute("nki_kernel", traced.program, list(arrays), outputs)
    assert not any(report["unwritten"]), report
    return outputs


def body(text: str, parameters: str = "x") -> str:
    """A kernel around a few lines: `out` has x's shape and is returned."""
    lines = textwrap.indent(textwrap.dedent(text).strip("\n"), "    ")
    return (
        HEAD + f"@nki.jit\ndef nki_kernel({parameters}):\n"
        "    out = nl.ndarray(x.shape, dtype=x.dtype, buffer=nl.shared_hbm)\n" + lines + "\n    return out\n"
    )


def rules(traced: Traced) -> list[str]:
    """Names of the errors found."""
    return [d.rule for d in traced.diagnostics if d.severity == "error"]
