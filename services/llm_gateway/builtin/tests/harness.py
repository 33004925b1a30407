"""Plays a conversation between the rule-based writer and the real toolchain.

The writer runs as its own process (`builtin_writer`), as a model would be asked. Its kernels are traced by
the frontend, checked by the whole-program rules, executed, and compared with the PyTorch module; what is told
back has the form of the orchestrator's tool results.
"""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
from dataclasses import dataclass, field
from typing import Any

import ml_dtypes
import numpy as np
import torch
from nki_frontend import dtypes
from nki_frontend.errors import Diagnostic
from nki_frontend.simulate import KernelError, check, execute
from nki_frontend.source import trace_source
from nki_frontend.tracer import TensorSpec
from nkiagent_worker.reference import graph as reference_graph
from nkiagent_worker.reference.task import input_names

TOLERANCE = 1e-3
TOOLS = ["compile_kernel", "verify_kernel"]


class Writer:
    """The `builtin_writer` process: one JSON object a line in, one out."""

    def __init__(self) -> None:
        program = pathlib.Path(os.environ["NKI_BUILD_DIR"]) / "services/llm_gateway/builtin/builtin_writer"
        self._process = subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, conversation: dict[str, Any]) -> dict[str, Any]:
        """The writer's next message."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps(conversation) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        assert "error" not in answer, answer
        return answer

    def close(self) -> None:
        """Ends the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(timeout=10)


@dataclass
class Task:
    """A module with its inputs, and what a kernel for it gets and should give."""

    model: torch.nn.Module
    inputs: list[torch.Tensor]
    graph: str = ""
    arguments: list[tuple[str, np.ndarray]] = field(default_factory=list)
    expected: list[np.ndarray] = field(default_factory=list)


@dataclass
class Session:
    """What happened: every kernel, every tool result, and the writer's last words if it stopped by itself."""

    sources: list[str] = field(default_factory=list)
    results: list[str] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        return bool(self.results) and "verified: PASS" in self.results[-1]


def boundary(tensor: torch.Tensor) -> np.ndarray:
    """The tensor as it crosses the kernel's boundary."""
    tensor = tensor.detach().contiguous()
    if tensor.dim() == 0:
        tensor = tensor.reshape(1)
    if tensor.dtype == torch.bfloat16:
        return tensor.view(torch.int16).numpy().view(ml_dtypes.bfloat16).copy()
    if tensor.dtype == torch.float8_e5m2:
        return tensor.view(torch.uint8).numpy().view(ml_dtypes.float8_e5m2).copy()
    if tensor.dtype == torch.int64:
        tensor = tensor.int()
    if tensor.dtype == torch.bool:
        tensor = tensor.to(torch.uint8)
    return tensor.numpy().copy()


def make_graph(model: torch.nn.Module, *inputs: torch.Tensor) -> str:
    """The module's graph as the reference worker writes it."""
    return reference_graph.write(
        reference_graph.export(model, tuple(inputs)), input_names(model, len(inputs))
    ).text


def make_task(model: torch.nn.Module, *inputs: torch.Tensor) -> Task:
    """Exports the module as the reference worker does, and runs it."""
    task = Task(model, list(inputs))
    names = input_names(model, len(inputs))
    written = reference_graph.write(reference_graph.export(model, tuple(inputs)), names)
    task.graph = written.text
    task.arguments = [(name, boundary(t)) for name, t in zip(names, inputs, strict=True)]
    task.arguments += [(lifted.name, boundary(lifted.tensor)) for lifted in written.lifted]
    with torch.no_grad():
        outputs = model(*inputs)
    task.expected = [boundary(t) for t in (outputs if isinstance(outputs, tuple) else (outputs,))]
    return task


def _told(diagnostics: list[Diagnostic]) -> str:
    lines = []
    for d in diagnostics:
        lines.append(f"{d.severity}[{d.rule}] line {d.line}, col {d.column}: {d.message}")
        if d.limit or d.actual:
            lines.append(f"  limit: {d.limit} actual: {d.actual}")
    return "\n".join(lines) + "\n"


def judge(task: Task, source: str) -> str:
    """What the tools answer: compile, then verify."""
    specs = [TensorSpec(name, array.shape, array.dtype) for name, array in task.arguments]
    traced = trace_source(source, "nki_kernel", specs)
    found = list(traced.diagnostics)
    if traced.ok:
        found += check(traced.program)
    errors = [d for d in found if d.severity == "error"]
    if errors:
        return f"compiled: no ({len(errors)} errors)\n{_told(errors)}"
    outputs = [np.zeros(o.shape, dtypes.normalize(o.dtype)) for o in traced.outputs]
    try:
        report = execute("nki_kernel", traced.program, [array for _, array in task.arguments], outputs)
    except KernelError as error:
        return f"compiled: yes\nverified: FAIL (execution): {error}\n"
    return "compiled: yes\n" + _verdict(task, outputs, report["unwritten"])


def _verdict(task: Task, outputs: list[np.ndarray], unwritten: list[int]) -> str:
    if any(unwritten):
        return f"verified: FAIL (unwritten): {unwritten}\n"
    for n, (expected, actual) in enumerate(zip(task.expected, outputs, strict=True)):
        if (expected.shape, expected.dtype) != (actual.shape, actual.dtype):
            return (
                f"verified: FAIL (shape): output {n} is {actual.dtype}{actual.shape}, "
                f"not {expected.dtype}{expected.shape}\n"
            )
        close = np.isclose(
            actual.astype(np.float64), expected.astype(np.float64), atol=TOLERANCE, rtol=TOLERANCE
        )
        if (np.isnan(actual.astype(np.float64)) & ~np.isnan(expected.astype(np.float64))).any():
            return f"verified: FAIL (nan): output {n} has NaN where the reference has none\n"
        if not close.all():
            return (
                f"verified: FAIL (mismatch): {(~close).sum()} of {close.size} elements of output {n} differ\n"
            )
    return "verified: PASS, 1 of 1 trials\n"


def play(writer: Writer, task: Task, turns: int = 6) -> Session:
    """Lets the writer work on the task until it is verified, gives up, or the turns are spent."""
    session = Session()
    messages: list[dict[str, Any]] = [{"role": "user", "text": f"```graph\n{task.graph}```\n"}]
    for _ in range(turns):
        answer = writer.ask({"messages": messages, "tools": TOOLS})
        session.texts.append(answer["text"])
        if "call" not in answer:
            break
        session.sources.append(answer["call"]["arguments"]["source"])
        session.results.append(judge(task, session.sources[-1]))
        messages.append({"role": "assistant", "text": answer["text"], "calls": [answer["call"]]})
        messages.append(
            {"role": "user", "results": [{"call_id": answer["call"]["id"], "text": session.results[-1]}]}
        )
        if session.passed:
            break
    return session
