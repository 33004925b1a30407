"""Right kernels to inject bugs into: by hand, and those that the rule-based writer gives for tasks."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nkiagent_worker.reference.task import Problem

from nkiagent_bench import suite
from nkiagent_bench.evaluate import describe

KERNELS = suite.ROOT / "mutation" / "kernels"


@dataclass
class Subject:
    """A kernel that ought to be right for its task."""

    name: str  # "hand/softmax_rows", "builtin/relu".
    task: suite.TaskFile
    facts: dict[str, Any]
    source: str


class Writer:
    """The `builtin_writer` process: one JSON object a line in, one out."""

    def __init__(self, program: Path) -> None:
        self._process = subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.stdin.close()
        self._process.wait(timeout=10)

    def kernel(self, graph: str) -> str | None:
        """Its first kernel for a graph; nothing if it has none."""
        message = {"role": "user", "text": f"```graph\n{graph}```"}
        self._process.stdin.write(json.dumps({"messages": [message], "tools": ["compile_kernel"]}) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        return answer["call"]["arguments"]["source"] if "call" in answer else None


def by_hand(known: dict[str, Path]) -> list[Subject]:
    """The kernels of services/bench/mutation/kernels, each for the task of its name."""
    subjects = []
    for path in sorted(KERNELS.glob("*.py")):
        if path.stem not in known:
            raise suite.SuiteError(f"{path}: there is no task {path.stem}")
        task = suite.load_task(known[path.stem])
        subjects.append(Subject(f"hand/{path.stem}", task, describe(task.source), path.read_text()))
    return subjects


def by_writer(known: dict[str, Path], ids: list[str], program: Path) -> list[Subject]:
    """Kernels of the rule-based writer; tasks for which it has none are left out."""
    subjects = []
    with Writer(program) as writer:
        for task_id in ids:
            task = suite.load_task(known[task_id])
            try:
                facts = describe(task.source)
            except Problem as problem:
                raise suite.SuiteError(f"{task.path}: {problem.message}") from problem
            source = writer.kernel(facts["graph"])
            if source is not None:
                subjects.append(Subject(f"builtin/{task_id}", task, facts, source))
    return subjects
