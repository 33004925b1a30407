"""The linter: proves for each task that it can fail, that it is fair, and that what is said of it is true.

    python -m nkiagent_bench.lint [SUITE | --task ID…] [--root DIR] [--report STEM] [--json]

Exit code 0: nothing is wrong. 1: a task or a suite has problems. 2: wrong usage.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from nkiagent_worker.reference.task import Problem, input_names

from nkiagent_bench import fakes, report, stratify, suite
from nkiagent_bench.compare import compare
from nkiagent_bench.evaluate import Outputs, Reference, describe, quiet
from nkiagent_bench.fakes import Fake

# Three, as verify-service draws by default; a wrong result must fail in each of them.
SEEDS = (101, 202, 303)
OTHER_SEED = 404
OTHER_WEIGHT_SEED = 1
# A right kernel adds in another order than torch: what that costs must be well inside the tolerance. The
# result in float64 stands for it; for bf16 tasks the one in float32, rounded at the end.
MAX_FAIR_USE = {"float32": 0.25, "bfloat16": 0.5}
# One forward of the reference; a verification runs four or more and has 3 s in all.
MAX_FORWARD_SECONDS = 0.5
MAX_ELEMENTS = 10_000_000


@dataclass
class Finding:
    """What the linter knows about a task."""

    id: str
    level: int = 0
    category: str = ""
    source: str = ""
    problems: list[str] = field(default_factory=list)
    checks: int = 0  # Wrong results that were compared.
    # The wrong result that comes closest to a pass, and how far beyond the tolerance it is (more than 1).
    closest: str = ""
    closest_use: float = float("inf")
    fair_use: float = 0.0  # How much of the tolerance a right result in another precision takes.
    fp16_use: float | None = None  # The same for fp16 and bf16; absent where that is no mistake.
    forward_seconds: float = 0.0
    atol: float = 0.0
    rtol: float = 0.0
    seconds: float = 0.0

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems


def _specs(values: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{"shape": value["dims"], "dtype": value["dtype"]} for value in values]


def check_facts(task: suite.TaskFile, facts: dict[str, Any], finding: Finding) -> None:
    """What the metadata say against what the reference role found."""
    inputs = [argument for argument in facts["arguments"] if argument["role"] == "input"]
    measured = {
        "inputs": _specs(inputs),
        "outputs": _specs(facts["outputs"]),
        "ranks": sorted({len(spec["dims"]) for spec in inputs}),
    }
    for key, value in measured.items():
        if task.meta[key] != value:
            finding.problems.append(f"metadata: {key} is {task.meta[key]}, and the code says {value}")
    if not facts["graph"]:
        finding.problems.append(f"export: {'; '.join(facts['notes'])}")
    finding.forward_seconds = facts["reference_time_s"]
    if finding.forward_seconds > MAX_FORWARD_SECONDS:
        finding.problems.append(
            f"time: forward takes {finding.forward_seconds:.2f} s, limit {MAX_FORWARD_SECONDS} s"
        )
    for argument in [*facts["arguments"], *facts["outputs"]]:
        elements = torch.Size(argument["dims"]).numel()
        if elements > MAX_ELEMENTS:
            finding.problems.append(f"size: {argument['name']} has {elements} elements, limit {MAX_ELEMENTS}")


def wrong_results(
    task: suite.TaskFile, reference: Reference, facts: dict[str, Any], inputs: list[Any], right: Outputs
) -> Iterator[Fake]:
    """Every result that the task must refuse on these inputs."""
    names = input_names(reference.model, len(inputs))
    arguments = {name: v for name, v in zip(names, inputs, strict=True) if torch.is_tensor(v)}
    used = {a["reference_name"] for a in facts["arguments"] if a["role"] != "input"}
    arguments |= {name: tensor.detach() for name, tensor in reference.weights().items() if name in used}
    narrow = any(tensor.dtype == torch.bfloat16 for tensor in right.values())
    for name, expected in right.items():
        yield from fakes.constants(name, expected)
        yield from fakes.copies(name, expected, arguments)
        yield from fakes.unfinished(name, expected)
        yield from fakes.scaled(name, expected, narrow)
        yield from fakes.shifted(name, expected)
    other = reference.inputs(OTHER_SEED)
    yield from fakes.one_at_a_time("other inputs", reference.run(other))
    other_weights = reference.with_weights_of(OTHER_WEIGHT_SEED, inputs) if used else None
    if other_weights is not None:
        yield Fake("other weights", other_weights)
    yield from fakes.of_inputs(reference, inputs, names, other)
    yield from fakes.of_weights(reference, inputs, used)


def _judge(finding: Finding, atol: float, rtol: float, right: Outputs, fake: Fake) -> None:
    finding.checks += 1
    use, passed = 0.0, True
    for name, value in fake.outputs.items():
        if value.shape != right[name].shape or value.dtype != right[name].dtype:
            finding.problems.append(f"{fake.kind}: {name} has another shape or type then")
            return
        outcome = compare(right[name], value, atol, rtol)
        use, passed = max(use, outcome.use), passed and outcome.passed
    named = f"{fake.kind} ({', '.join(fake.outputs)})"
    if use < finding.closest_use:
        finding.closest, finding.closest_use = named, use
    if passed:
        finding.problems.append(f"can't fail: passes: {named}")


def check_precision(
    finding: Finding, atol: float, rtol: float, reference: Reference, inputs: list[Any], right: Outputs
) -> None:
    """A right result in another precision passes with room to spare; one in fp16 or bf16 does not."""
    for name, wider in reference.wider(inputs).items():
        outcome = compare(right[name], wider, atol, rtol)
        limit = MAX_FAIR_USE["bfloat16" if right[name].dtype == torch.bfloat16 else "float32"]
        finding.fair_use = max(finding.fair_use, outcome.use)
        if outcome.use > limit:
            finding.problems.append(
                f"unfair: a right result takes {outcome.use:.2g} of the tolerance of {name}, limit {limit}"
            )
    if not all(t.dtype == torch.float32 for t in right.values() if t.is_floating_point()):
        return
    for dtype in (torch.float16, torch.bfloat16):
        for name, rounded in reference.rounded(dtype, inputs).items():
            if right[name].dtype != torch.float32:
                continue
            outcome = compare(right[name], rounded, atol, rtol)
            finding.checks += 1
            finding.fp16_use = min(finding.fp16_use or float("inf"), outcome.use)
            if outcome.passed:
                finding.problems.append(f"can't fail: {str(dtype)[6:]} arithmetic passes for {name}")


def check_values(task: suite.TaskFile, reference: Reference, facts: dict[str, Any], finding: Finding) -> None:
    """All that is proved by running the reference."""
    for seed in SEEDS:
        inputs = reference.inputs(seed)
        right = reference.run(inputs)
        for fake in wrong_results(task, reference, facts, inputs, right):
            _judge(finding, task.atol, task.rtol, right, fake)
        check_precision(finding, task.atol, task.rtol, reference, inputs, right)


def lint_task(path: Path) -> Finding:
    """Everything about one task; never raises for what is wrong with it."""
    started = time.perf_counter()
    finding = Finding(path.stem)
    try:
        task = suite.load_task(path)
        finding.level, finding.category = task.level, task.meta["category"]
        finding.source, finding.atol, finding.rtol = task.meta["source"], task.atol, task.rtol
        facts = describe(task.source)
        check_facts(task, facts, finding)
        check_values(task, Reference(task.source), facts, finding)
    except suite.SuiteError as error:
        finding.problems.append(f"files: {error}")
    except Problem as problem:
        where = f" (line {problem.line})" if problem.line else ""
        finding.problems.append(f"reference: {problem.kind.lower()}: {problem.message}{where}")
    # The same words for each seed and each of a weight's three values would say nothing more.
    finding.problems = list(dict.fromkeys(finding.problems))
    finding.seconds = time.perf_counter() - started
    return finding


def select(root: Path, suite_name: str | None, ids: list[str]) -> tuple[dict[str, Path], list[str]]:
    """The tasks to lint, and what is wrong with the suites themselves. Raises SuiteError."""
    known = suite.find_tasks(root)
    suites = suite.find_suites(root)
    if suite_name is not None and suite_name not in suites:
        raise suite.SuiteError(f"there is no suite {suite_name}; known are {', '.join(suites)}")
    problems: list[str] = []
    chosen = known
    for name, path in suites.items():
        if suite_name not in (None, name):
            continue
        loaded = suite.load_suite(path, known)
        problems += stratify.problems(loaded, known)
        if suite_name is not None:
            chosen = {task: known[task] for task in loaded.tasks}
    for task in ids:
        if task not in known:
            raise suite.SuiteError(f"there is no task {task}")
    return ({task: known[task] for task in ids} if ids else chosen), problems


def main(arguments: list[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="nkictl bench lint", description="Checks the benchmark's tasks.")
    parser.add_argument("suite", nargs="?", help="only this suite; all tasks and all suites without it")
    parser.add_argument("--task", action="append", default=[], help="only this task; may be repeated")
    parser.add_argument("--root", type=Path, default=suite.ROOT, help="folder with tasks/ and suites/")
    parser.add_argument("--report", type=Path, help="writes REPORT.json and REPORT.md")
    parser.add_argument("--json", action="store_true", help="the report as JSON on standard output")
    options = parser.parse_args(arguments)
    quiet()
    try:
        paths, suite_problems = select(options.root, options.suite, options.task)
    except suite.SuiteError as error:
        print(f"bench lint: {error}", file=sys.stderr)
        return 1
    findings = []
    for number, path in enumerate(paths.values(), 1):
        finding = lint_task(path)
        findings.append(finding)
        if not options.json:
            print(report.line(finding, number, len(paths)), flush=True)
    for problem in suite_problems:
        print(f"bench lint: {problem}", file=sys.stderr)
    if options.report:
        report.write(options.report, findings, suite_problems)
    if options.json:
        print(report.as_json(findings, suite_problems))
    else:
        print(report.summary(findings, suite_problems))
    return 0 if not suite_problems and all(finding.ok for finding in findings) else 1


if __name__ == "__main__":
    sys.exit(main())
