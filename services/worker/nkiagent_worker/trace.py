"""The role `trace`: a kernel's source becomes a program or diagnostics. README.md beside the package
describes the payload.

Nothing here sees data: the kernel runs with symbolic tensors.
"""

from __future__ import annotations

import ast
import dataclasses
import importlib.abc
import json
import sys

import neuronxcc.nki.compiler  # noqa: F401  imported before a request comes, so that a kernel's own import is free
import neuronxcc.nki.isa  # noqa: F401
import neuronxcc.nki.language  # noqa: F401
import neuronxcc.nki.typing  # noqa: F401
from nki_frontend import context, reference
from nki_frontend.errors import Diagnostic
from nki_frontend.source import trace_source
from nki_frontend.tracer import TensorSpec, Traced

MAX_DIAGNOSTICS = 100
# Kernels see shapes, not tensors of a framework; importing one would cost seconds for nothing.
FRAMEWORKS = frozenset({"torch", "torch_xla", "torch_neuronx", "jax", "tensorflow"})
MAX_TEXT = 2000


class _NoFrameworks(importlib.abc.MetaPathFinder):
    """Refuses what the SDK's kernels never need."""

    def find_spec(self, name: str, path: object, target: object = None) -> None:
        if name.partition(".")[0] in FRAMEWORKS:
            raise ModuleNotFoundError(
                f"No module named '{name}': a kernel's source is compiled without its framework", name=name
            )


sys.meta_path.insert(0, _NoFrameworks())


def handle(payload: bytes) -> bytes:
    """One request: a JSON object in, one line of JSON and the program's bytes out. Raises only for a
    malformed payload, which is the service's fault.
    """
    request = json.loads(payload)
    if "lookup" in request:
        return json.dumps(dataclasses.asdict(reference.lookup(request["lookup"]))).encode() + b"\n"
    arguments = [TensorSpec(a["name"], tuple(a["shape"]), a["dtype"]) for a in request["arguments"]]
    traced = _trace(request, arguments)
    diagnostics = [_bounded(d) for d in traced.diagnostics[:MAX_DIAGNOSTICS]]
    head = json.dumps({"ok": traced.ok, "diagnostics": diagnostics}, ensure_ascii=True)
    return head.encode() + b"\n" + (traced.program or b"")


def _trace(request: dict, arguments: list[TensorSpec]) -> Traced:
    constants = {}
    for name, text in (request.get("constants") or {}).items():
        try:
            constants[name] = ast.literal_eval(text)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            return Traced(
                None,
                [
                    Diagnostic(
                        "error",
                        "err_kernel_constant",
                        f"constant '{name}' is not a Python literal: {text}",
                        actual=str(text),
                    )
                ],
            )
    return trace_source(
        request["source"],
        request["entry"],
        arguments,
        grid=tuple(request.get("grid") or ()),
        target=request.get("target") or "trn1",
        sdk=request.get("sdk") or "2.24",
        scalars=constants,
        max_instructions=int(request.get("max_instructions") or context.MAX_INSTRUCTIONS),
    )


def _bounded(diagnostic: Diagnostic) -> dict:
    """The finding without its empty fields, its texts cut."""
    out = {}
    for key, value in dataclasses.asdict(diagnostic).items():
        if isinstance(value, str):
            value = value.encode("utf-8", "replace").decode()[:MAX_TEXT]
        if value:
            out[key] = value
    return out
