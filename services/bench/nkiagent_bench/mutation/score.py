"""The verifier's mutation score: how many injected bugs that change results the real services catch.

    python -m nkiagent_bench.mutation.score [--suite NAME | --task ID…] [--per-class N] [--report STEM]

compile-service and verify-service judge every mutant (`nkictl verify --batch`); what they let through is
judged once more with high rigor. Exit code 0: every mutant that changes results was caught.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nkiagent_worker.reference.task import Problem

from nkiagent_bench import suite
from nkiagent_bench.evaluate import quiet
from nkiagent_bench.mutation import effect, operators, subjects
from nkiagent_bench.report import write_whole

# Of one kernel; a kernel with many loops would otherwise outweigh all others.
DEFAULT_PER_CLASS = 2
# The tasks whose kernels the rule-based writer gives, unless others are named: one or two of each kind.
DEFAULT_TASKS = (
    "matmul_square",
    "matmul_batched",
    "matmul_transposed_both",
    "relu",
    "softmax_rows",
    "layer_norm_3d",
    "rms_norm_channels",
    "group_norm",
    "mean_middle_axis",
    "argmax_middle_axis",
    "huber_loss",
    "cumsum_reverse",
    "conv_2d_square",
    "max_pool_2d",
    "conv_relu_bias",
    "gemm_swish_divide_clamp_tanh",
    "gemm_dropout_softmax",
    "swiglu_mlp",
    "causal_attention_one_head",
    "mlp_three_layers",
)


@dataclass
class Row:
    """One mutant."""

    id: str
    subject: str
    kind: str
    line: int
    change: str
    source: str
    effect: str = ""  # "changed", "within tolerance", "equivalent".
    caught: str = ""  # "compile", the verdict's reason, "high rigor"; empty: it passed.


def service_binary(name: str) -> Path:
    """A program of the build: NKI_BUILD_DIR names the build's folder."""
    folder = os.environ.get("NKI_BUILD_DIR")
    if not folder:
        raise suite.SuiteError("NKI_BUILD_DIR is not set; ./dev bench mutation sets it")
    path = Path(folder) / "services" / name
    if not path.exists():
        raise suite.SuiteError(f"{path}: no such program; build it first")
    return path


def judge(requests: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The answers of the real services by id. Raises SuiteError if one is missing."""
    lines = "".join(json.dumps(request) + "\n" for request in requests)
    command = [service_binary("nkictl/nkictl"), "verify", "--batch", "-"]
    done = subprocess.run(command, input=lines, capture_output=True, text=True, check=False)
    answers = {}
    for line in done.stdout.splitlines():
        answer = json.loads(line)
        if "error" in answer:
            raise suite.SuiteError(f"{answer['id']}: {answer['error']}")
        answers[answer["id"]] = answer
    if len(answers) != len(requests):
        end = done.stderr.strip()[-500:]
        raise suite.SuiteError(f"{len(answers)} answers to {len(requests)} requests: {end}")
    return answers


def _request(row_id: str, task: suite.TaskFile, source: str, rigor: str = "standard") -> dict[str, Any]:
    return {
        "id": row_id,
        "task": str(task.path),
        "kernel_source": source,
        "atol": task.atol,
        "rtol": task.rtol,
        "seeds": [1, 2, 3],
        "rigor": rigor,
    }


def right_ones(candidates: Iterable[subjects.Subject]) -> list[subjects.Subject]:
    """Those that verification passes: a wrong kernel shows nothing. By hand they must be right."""
    found = list(candidates)
    answers = judge([_request(subject.name, subject.task, subject.source) for subject in found])
    for subject in found:
        if not answers[subject.name]["passed"] and subject.name.startswith("hand/"):
            raise suite.SuiteError(f"{subject.name} is wrong: {answers[subject.name]['message']}")
    return [subject for subject in found if answers[subject.name]["passed"]]


def make_rows(subject: subjects.Subject, per_class: int) -> list[Row]:
    """A kernel's mutants with what they do to its results."""
    inputs = effect.inputs_of(subject.task, subject.facts)
    original = effect.build(subject.source, inputs)
    rows = []
    for kind in operators.OPERATORS:
        for mutant in operators.spread(operators.mutants(subject.source, kind), per_class):
            row = Row(
                f"{subject.name}#{len(rows)}", subject.name, kind, mutant.line, mutant.change, mutant.source
            )
            program = effect.build(mutant.source, inputs)
            row.effect = effect.effect(original, program, inputs, subject.task.atol, subject.task.rtol)
            rows.append(row)
    return rows


def judge_rows(rows: list[Row], by_name: dict[str, subjects.Subject]) -> None:
    """Fills in who caught what."""
    answers = judge([_request(row.id, by_name[row.subject].task, row.source) for row in rows])
    for row in rows:
        answer = answers[row.id]
        if not answer["passed"]:
            row.caught = answer["stage"] if answer["stage"] != "verify" else answer["reason"]
    passed = [row for row in rows if not row.caught and row.effect == "changed"]
    if not passed:
        return
    answers = judge([_request(row.id, by_name[row.subject].task, row.source, "high") for row in passed])
    for row in passed:
        if not answers[row.id]["passed"]:
            row.caught = "high rigor"


def table(rows: list[Row]) -> list[list[str]]:
    """A line for each class and one for all: mutants, changed, caught in which way, missed, unchanged."""
    lines = []
    for kind in [*operators.OPERATORS, "all"]:
        own = [row for row in rows if kind in (row.kind, "all")]
        changed = [row for row in own if row.effect == "changed"]
        by_compile = sum(row.caught == "compile" for row in changed)
        by_rigor = sum(row.caught == "high rigor" for row in changed)
        missed = sum(not row.caught for row in changed)
        by_verify = len(changed) - by_compile - by_rigor - missed
        standard = f"{by_compile + by_verify}/{len(changed)}" if changed else "none"
        same = sum(row.effect == "equivalent" for row in own)
        near = sum(row.effect == "within tolerance" for row in own)
        lines.append(
            [kind, *map(str, (len(own), same, near, len(changed), by_compile, by_verify, by_rigor, missed))]
        )
        lines[-1].append(standard)
    return lines


HEADER = (
    "bug class",
    "mutants",
    "no bit differs",
    "within tolerance",
    "change results",
    "refused by compile",
    "refused by verify",
    "by high rigor only",
    "missed",
    "caught",
)


def as_markdown(rows: list[Row], used: list[subjects.Subject]) -> str:
    """The table, and every mutant that standard verification let through."""
    hand = sum(subject.name.startswith("hand/") for subject in used)
    lines = [
        "# Mutation score of the verifier",
        "",
        f"Made by `./dev bench mutation`: {len(rows)} mutants of {len(used)} right kernels, {hand} by hand "
        f"and {len(used) - hand} of `builtin`. *Change results* is decided without the verifier, kernel "
        "against kernel, on inputs that verification does not draw. *Caught*: by the standard three trials.",
        "",
        "| " + " | ".join(HEADER) + " |",
        "|---|" + "---:|" * (len(HEADER) - 1),
    ]
    lines += ["| " + " | ".join(line) + " |" for line in table(rows)]
    through = [row for row in rows if row.effect == "changed" and row.caught in ("", "high rigor")]
    if through:
        lines += ["", "Let through by the standard trials:", ""]
    for row in through:
        end = "caught by high rigor" if row.caught else "missed by high rigor too"
        lines.append(f"- {row.subject} line {row.line}, {row.kind}: {row.change}; {end}")
    strict = [row for row in rows if row.effect == "equivalent" and row.caught not in ("", "compile")]
    lines += ["", f"Mutants without effect that verification refused all the same: {len(strict)}."]
    lines += [f"- {row.subject} line {row.line}, {row.kind}: {row.change}; {row.caught}" for row in strict]
    return "\n".join(lines) + "\n"


def main(arguments: list[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="bench mutation", description="The verifier's mutation score.")
    parser.add_argument("--suite", help="kernels of builtin for the tasks of this suite")
    parser.add_argument(
        "--task", action="append", default=[], help="kernels of builtin for this task; repeatable"
    )
    parser.add_argument("--hand-only", action="store_true", help="only the kernels written by hand")
    parser.add_argument(
        "--per-class", type=int, default=DEFAULT_PER_CLASS, help="most mutants of a kernel and class"
    )
    parser.add_argument("--report", type=Path, help="writes REPORT.json and REPORT.md")
    options = parser.parse_args(arguments)
    quiet()
    try:
        known = suite.find_tasks()
        ids = options.task or list(DEFAULT_TASKS)
        if options.suite:
            ids = suite.load_suite(suite.ROOT / "suites" / f"{options.suite}.yaml", known).tasks
        missing = [task for task in ids if task not in known]
        if missing:
            raise suite.SuiteError(f"there is no task {', '.join(missing)}")
        candidates = subjects.by_hand(known)
        if not options.hand_only:
            writer = service_binary("llm_gateway/builtin/builtin_writer")
            candidates += subjects.by_writer(known, ids, writer)
        used = right_ones(candidates)
        rows: list[Row] = []
        for subject in used:
            try:
                rows += make_rows(subject, options.per_class)
            except Problem as problem:
                print(f"{subject.name} is left out: {problem.message}", file=sys.stderr)
        judge_rows(rows, {subject.name: subject for subject in used})
    except suite.SuiteError as error:
        print(f"bench mutation: {error}", file=sys.stderr)
        return 1
    print(as_markdown(rows, used), end="")
    if options.report:
        kept = [{k: v for k, v in dataclasses.asdict(row).items() if k != "source"} for row in rows]
        document = {"kernels": len(used), "mutants": len(rows), "rows": kept}
        write_whole(options.report, json.dumps(document, indent=1) + "\n", as_markdown(rows, used))
    return 1 if any(row.effect == "changed" and not row.caught for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
