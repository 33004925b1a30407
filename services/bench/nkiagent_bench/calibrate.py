"""Fills what is measured into metadata files: ranks, shapes, types, tolerance and its reason.

    python -m nkiagent_bench.calibrate ID…

The tolerance is a small part of the output's own scale (its root mean square, the smallest if there are
several outputs): the first of a few sizes at which a right result in another precision passes with room to
spare and no wrong result passes. Which that is, the linter's own checks decide.
"""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path

import numpy
from nkiagent_worker.reference.task import Problem

from nkiagent_bench import lint, suite
from nkiagent_bench.evaluate import Reference, describe, quiet

# Relative tolerance, and the absolute one in units of the output's scale.
SIZES_FP32 = (1e-4, 3e-5, 3e-4, 1e-5, 1e-3)
SIZES_BF16 = (2e-2, 4e-2, 1e-2, 6e-2)


def _round_up(value: float) -> float:
    """To one digit, so that people can read it."""
    if value <= 0:
        return 0.0
    unit = 10.0 ** math.floor(math.log10(value))
    return float(f"{math.ceil(value / unit - 1e-9) * unit:.1g}")


def _scale(reference: Reference) -> float:
    """Root mean square of the smallest output; 0 if no output is a float."""
    scales = [
        float(tensor.double().square().mean().sqrt())
        for tensor in reference.run(reference.inputs(lint.SEEDS[0])).values()
        if tensor.is_floating_point()
    ]
    return min(scales, default=0.0)


def _reason(finding: lint.Finding, scale: float, size: float, narrow: bool) -> str:
    if narrow:
        return (
            f"bf16 has 8 significant bits; {size:g} of the output's root mean square {scale:.2g}. "
            f"Computed in fp32 and rounded once, the result is off by {finding.fair_use:.2g} of it"
        )
    noise = f"{finding.fair_use:.2g}" if finding.fair_use >= 1e-4 else "less than 0.0001"
    return (
        f"{size:g} of the output's root mean square {scale:.2g}: a float64 result is off by {noise} of it, "
        f"fp16 arithmetic by {finding.fp16_use:.2g} times"
    )


def calibrate(path: Path) -> list[str]:
    """Measures one task and rewrites its metadata; returns what the linter then still says."""
    task = suite.load_task(path, measured=False)
    facts = describe(task.source)
    inputs = [argument for argument in facts["arguments"] if argument["role"] == "input"]
    task.meta["ranks"] = sorted({len(spec["dims"]) for spec in inputs})
    task.meta["inputs"] = lint._specs(inputs)
    task.meta["outputs"] = lint._specs(facts["outputs"])
    reference = Reference(task.source)
    scale = _scale(reference)
    narrow = task.is_bf16
    finding = lint.Finding(task.id)
    if scale == 0.0:
        task.meta |= {"atol": 0.0, "rtol": 0.0, "tolerance_reason": "integers: equal or wrong"}
        lint.check_values(task, reference, facts, finding)
    else:
        best = None
        for size in SIZES_BF16 if narrow else SIZES_FP32:
            task.meta |= {"atol": _round_up(size * scale), "rtol": size, "tolerance_reason": "-"}
            finding = lint.Finding(task.id)
            lint.check_values(task, reference, facts, finding)
            if best is None or len(finding.problems) < len(best[1].problems):
                best = (size, finding)
            if finding.ok:
                break
        size, finding = best
        task.meta |= {"atol": _round_up(size * scale), "rtol": size}
        task.meta["tolerance_reason"] = _reason(finding, scale, size, narrow)
    write_meta(path.with_suffix(".yaml"), task.meta)
    return list(dict.fromkeys(finding.problems))


def _scalar(value: object) -> str:
    if isinstance(value, str):
        plain = value and all(c.isalnum() or c in " _-.,;()/" for c in value) and value[0].isalpha()
        return value if plain else '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return numpy.format_float_positional(value, trim="0") if isinstance(value, float) else str(value)


def write_meta(path: Path, meta: dict[str, object]) -> None:
    """Metadata in the order of their keys, tensors one a line."""
    lines = []
    for key in suite._KEYS:
        value = meta[key]
        if key in ("inputs", "outputs"):
            lines.append(f"{key}:")
            lines += [f"  - {{shape: {tensor['shape']}, dtype: {tensor['dtype']}}}" for tensor in value]
        else:
            lines.append(f"{key}: {_scalar(value)}")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def main(arguments: list[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="nkiagent_bench.calibrate", description=__doc__)
    parser.add_argument("task", nargs="*", help="ids; without one, the tasks whose metadata lack a tolerance")
    parser.add_argument("--root", type=Path, default=suite.ROOT)
    options = parser.parse_args(arguments)
    quiet()
    known = suite.find_tasks(options.root)
    ids = options.task or [
        task for task, path in known.items() if "atol" not in suite.load_task(path, measured=False).meta
    ]
    bad = 0
    for task in ids:
        if task not in known:
            print(f"calibrate: there is no task {task}", file=sys.stderr)
            return 1
        try:
            problems = calibrate(known[task])
        except Problem as problem:
            problems = [f"{problem.kind}: {problem.message}"]
        bad += bool(problems)
        print(f"{task}: {'; '.join(problems[:5]) or 'ok'}", flush=True)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
