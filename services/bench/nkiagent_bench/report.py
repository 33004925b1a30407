"""What the linter found: one line, a summary, JSON, Markdown."""

from __future__ import annotations

import dataclasses
import json
import math
import os
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nkiagent_bench.lint import Finding

_MOST_PROBLEMS = 4


def line(finding: Finding, number: int, total: int) -> str:
    """One task, as it is printed while the linter runs."""
    if finding.ok:
        return f"[{number}/{total}] {finding.id}: ok, {finding.checks} wrong results refused"
    shown = "; ".join(finding.problems[:_MOST_PROBLEMS])
    more = len(finding.problems) - _MOST_PROBLEMS
    return f"[{number}/{total}] {finding.id}: {shown}{f'; and {more} more' if more > 0 else ''}"


def summary(findings: list[Finding], suite_problems: list[str]) -> str:
    """The last line."""
    bad = sum(not finding.ok for finding in findings)
    checks = sum(finding.checks for finding in findings)
    seconds = sum(finding.seconds for finding in findings)
    text = f"{len(findings)} tasks, {bad} with problems, {checks} wrong results compared, {seconds:.0f} s"
    return text + (f", {len(suite_problems)} problems of suites" if suite_problems else "")


def _number(value: float | None) -> float | None:
    """Three digits are enough, and JSON has no infinity."""
    return None if value is None or not math.isfinite(value) else float(f"{value:.3g}")


def as_json(findings: list[Finding], suite_problems: list[str]) -> str:
    """The whole report. Times are left out: they differ from run to run."""
    rows = []
    for finding in findings:
        row = dataclasses.asdict(finding)
        del row["seconds"], row["forward_seconds"]
        rows.append({key: _number(v) if isinstance(v, float) else v for key, v in row.items()})
    document = {
        "tasks": len(findings),
        "tasks_with_problems": sum(not finding.ok for finding in findings),
        "wrong_results_compared": sum(finding.checks for finding in findings),
        "suite_problems": suite_problems,
        "findings": rows,
    }
    return json.dumps(document, indent=1)


def _cell(value: float | None) -> str:
    if value is None:
        return "n/a"
    return "∞" if not math.isfinite(value) else f"{value:.2g}"


def as_markdown(findings: list[Finding], suite_problems: list[str]) -> str:
    """A table with a row for each task."""
    bad = [finding for finding in findings if not finding.ok]
    lines = [
        "# Lint report",
        "",
        "Made by `nkictl bench lint --report`. For each task: wrong results compared (all must be refused), "
        "the one that comes closest to a pass and its error in units of the tolerance (more than 1 is "
        "refused), the error of a right result in another precision (must stay below 0.25, for bf16 below "
        "0.5), the smallest error of fp16 or bf16 arithmetic (must be above 1; n/a for bf16 and integers).",
        "",
        f"{len(findings)} tasks, {len(bad)} with problems, "
        f"{sum(f.checks for f in findings)} wrong results compared.",
        "",
    ]
    lines += [f"- suite: {problem}" for problem in suite_problems]
    lines += [f"- {finding.id}: {problem}" for finding in bad for problem in finding.problems]
    for level, count in sorted(Counter(finding.level for finding in findings).items()):
        lines += ["", f"## Level {level}: {count} tasks", ""]
        lines += [
            "| task | category | source | atol | rtol | refused | closest | its error | right result | fp16 |"
        ]
        lines += ["|---|---|---|---:|---:|---:|---|---:|---:|---:|"]
        lines += [
            f"| {f.id} | {f.category} | {f.source} | {f.atol:g} | {f.rtol:g} | {f.checks} | {f.closest} "
            f"| {_cell(f.closest_use)} | {_cell(f.fair_use)} | {_cell(f.fp16_use)} |"
            for f in findings
            if f.level == level
        ]
    return "\n".join(lines) + "\n"


def write_whole(stem: Path, document: str, page: str) -> None:
    """STEM.json and STEM.md, each whole or not at all."""
    for suffix, text in ((".json", document), (".md", page)):
        path = stem.with_name(stem.name + suffix)
        temporary = path.with_name(path.name + ".tmp")
        temporary.write_text(text, encoding="utf-8")
        os.replace(temporary, path)


def write(stem: Path, findings: list[Finding], suite_problems: list[str]) -> None:
    """REPORT.json and REPORT.md."""
    write_whole(stem, as_json(findings, suite_problems) + "\n", as_markdown(findings, suite_problems))
