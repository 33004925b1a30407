"""What a kernel computes, in this process and without the verifier: traced, checked and executed.

This is what decides whether a mutant's results differ from the original's at all. It compares kernel with
kernel, on inputs that verification does not use, among them those of high rigor, so that it does not share
the verifier's eyes.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import ml_dtypes
import numpy as np
import torch
from nki_frontend import dtypes
from nki_frontend.simulate import KernelError, check, execute
from nki_frontend.source import trace_source
from nki_frontend.tracer import TensorSpec
from nkiagent_worker.reference import families, tensors
from nkiagent_worker.reference.task import Problem

from nkiagent_bench.compare import use_of_arrays
from nkiagent_bench.evaluate import Reference
from nkiagent_bench.suite import TaskFile

# None that verification is asked for; those of families beside the drawn on the first of them.
SEEDS = (9001, 9002, 9003)
FAMILIES = ("large", "negative", "positive", "constant_rows", "permuted")


def _array(tensor: torch.Tensor, name: str) -> np.ndarray:
    """The tensor as it crosses the kernel boundary."""
    array = tensors.boundary_array(tensor if tensor.dim() else tensor.reshape(1), name)
    narrow = {torch.bfloat16: ml_dtypes.bfloat16, torch.float8_e5m2: ml_dtypes.float8_e5m2}
    return array.view(narrow[tensor.dtype]).copy() if tensor.dtype in narrow else array.copy()


@dataclass
class Inputs:
    """The kernel's arguments for several draws."""

    names: list[str]
    draws: list[list[np.ndarray]] = field(default_factory=list)


def inputs_of(task: TaskFile, facts: dict[str, object]) -> Inputs:
    """Arguments for each seed and family, in the order of the kernel's parameters."""
    reference = Reference(task.source)
    weights = {**reference.model.state_dict(), **dict(reference.model.named_buffers())}
    rest = [a for a in facts["arguments"] if a["role"] != "input"]
    fixed = [_array(weights[a["reference_name"]].detach(), a["name"]) for a in rest]
    plan = [(seed, "drawn") for seed in SEEDS] + [(SEEDS[0], family) for family in FAMILIES]
    result = Inputs([a["name"] for a in facts["arguments"]])
    for seed, family in plan:
        drawn = families.change(reference.inputs(seed), family, seed)
        result.draws.append([_array(t, "input") for t in drawn if torch.is_tensor(t)] + fixed)
    return result


@dataclass
class Program:
    """A kernel that compiles, or why it does not."""

    errors: list[str]
    program: object = None
    outputs: list[object] = field(default_factory=list)


def build(source: str, inputs: Inputs) -> Program:
    """Traces and checks as compile-service does."""
    specs = [TensorSpec(n, a.shape, a.dtype) for n, a in zip(inputs.names, inputs.draws[0], strict=True)]
    traced = trace_source(source, "nki_kernel", specs)
    found = list(traced.diagnostics)
    if traced.ok:
        found += check(traced.program)
    errors = [d.rule for d in found if d.severity == "error"]
    return Program(errors, traced.program, list(traced.outputs) if traced.ok else [])


def run(program: Program, arguments: list[np.ndarray]) -> list[np.ndarray] | None:
    """The outputs; nothing if execution fails or leaves an element unwritten."""
    outputs = [np.zeros(o.shape, dtypes.normalize(o.dtype)) for o in program.outputs]
    try:
        report = execute("nki_kernel", program.program, arguments, outputs)
    except KernelError:
        return None
    return None if any(report["unwritten"]) else outputs


def effect(original: Program, mutant: Program, inputs: Inputs, atol: float, rtol: float) -> str:
    """How far the mutant's results are from the original's.

    `changed`: by more than the tolerance, or there are none. `within tolerance`: by less on every input that
    was tried. `equivalent`: not by one bit.
    """
    if mutant.errors:
        return "changed"
    if [(o.shape, o.dtype) for o in original.outputs] != [(o.shape, o.dtype) for o in mutant.outputs]:
        return "changed"
    same = True
    for arguments in inputs.draws:
        right, wrong = run(original, arguments), run(mutant, arguments)
        if right is None:
            raise Problem("EXECUTION", "the original kernel does not run on all inputs")
        if wrong is None:
            return "changed"
        for left, other in zip(right, wrong, strict=True):
            if left.tobytes() == other.tobytes():
                continue
            same = False
            if use_of_arrays(left, other, atol, rtol) > 1:
                return "changed"
    return "equivalent" if same else "within tolerance"
