"""Fuzzes the tracer: mutants of the kernels of this folder must each end in a program that loads, or in diagnostics,
within their limits of time and memory.

    fuzz_tracer.py --seconds 600 --seed 1 [--keep FOLDER]

Needs the extension modules and common/nki/frontend on PYTHONPATH. Each mutant runs in a process of its own. A
finding is a crash, an exception that leaves the tracer, a diagnostic without a rule or text or with a line that the
source does not have, a program that the checker can't load, an error inside the tracer's own code that no rule
names, or a limit that is hit where the kernel's own Python does not loop. Findings are printed with the source
that caused them (and written to FOLDER); the exit status is 1 if there was any.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import faulthandler
import json
import os
import pathlib
import re
import resource
import select
import signal
import sys
import time
import traceback
from typing import Any

import numpy as np
from mutations import Mutator

from nki_frontend import tracer
from nki_frontend.errors import _ours
from nki_frontend.source import load, trace_source
from nki_frontend.tracer import TensorSpec

KERNELS = pathlib.Path(__file__).parent / "kernels"
WALL_SECONDS = 10.0
MEMORY_BYTES = 3 << 30
MAX_INSTRUCTIONS = 10_000
# Exceptions of the tracer's own code that tell of a mistake in it, not in the kernel.
SLIPS = ("AttributeError", "KeyError", "IndexError", "AssertionError", "UnboundLocalError", "NameError",
         "ZeroDivisionError", "OverflowError", "RuntimeError", "NotImplementedError", "StopIteration")  # fmt: skip


@dataclasses.dataclass
class Seed:
    """A kernel to start from, with the inputs and the grid that fit it."""

    source: str
    inputs: list[TensorSpec]
    grid: tuple


def corpus() -> list[Seed]:
    """The kernels of the tests, and those that break a rule each."""
    from test_conditions import ATTENTION
    from test_errors import CASES

    seeds = []
    for path in sorted(KERNELS.glob("*.py")):
        source = path.read_text()
        namespace = load(source)
        arrays = namespace["inputs"](np.random.default_rng(0))
        seeds.append(_seed(source, arrays, tuple(namespace.get("GRID", ()))))
    for broken, kept, arrays in CASES.values():
        seeds.extend(_seed(source, arrays, ()) for source in (broken, kept))
    q = np.zeros((16, 512), np.float32)
    seeds.append(_seed(ATTENTION, [q, q, q.T], ()))
    return seeds


def _seed(source: str, arrays: list, grid: tuple) -> Seed:
    names = re.search(r"def nki_kernel\(([^)]*)\)", source)
    words = [w.split("=")[0].split(":")[0].strip() for w in names.group(1).split(",")] if names else []
    words += [f"x{i}" for i in range(len(arrays))]
    return Seed(source, [TensorSpec(n, a.shape, a.dtype) for n, a in zip(words, arrays, strict=False)], grid)


def attempt(source: str, seed: Seed) -> dict[str, Any]:
    """Traces one source; what went wrong, if anything, is under "finding"."""
    slips: list[str] = []
    named = tracer._python_error

    def watched(e: BaseException, *rest: Any, **options: Any) -> Any:
        frames = traceback.extract_tb(e.__traceback__)
        inner = list(traceback.walk_tb(e.__traceback__))
        # Raised on purpose, or int(float("inf")) of the kernel's own number: the message says it all.
        plain = frames and (frames[-1].line or "").startswith("raise ") or "float infinity" in str(e)
        if inner and _ours(inner[-1][0].f_code) and type(e).__name__ in SLIPS and not plain:
            where = f"{frames[-1].name}, {frames[-1].filename}:{frames[-1].lineno}"
            slips.append(f"{type(e).__name__}: {e} in {where}")
        return named(e, *rest, **options)

    tracer._python_error = watched
    traced = trace_source(
        source, "nki_kernel", seed.inputs, grid=seed.grid, max_instructions=MAX_INSTRUCTIONS
    )
    lines = len(source.splitlines()) + 1
    for d in traced.diagnostics:
        if not re.fullmatch(r"(err|warn)_[a-z0-9_]+", d.rule) or not d.message or "Traceback" in d.message:
            return {"finding": f"a diagnostic without rule or text: {d}"}
        if not 0 <= d.line <= lines:
            return {"finding": f"line {d.line} of {lines}: {d}"}
    if slips:
        return {"finding": f"an error inside the tracer: {slips[0]}"}
    errors = [d.rule for d in traced.diagnostics if d.severity == "error"]
    if traced.ok == bool(errors):
        return {"finding": f"a program: {traced.ok}, and errors: {errors}"}
    if traced.ok:
        import _nki_exec

        _nki_exec.check(traced.program)
    return {"rule": errors[0] if errors else "program"}


def _child(source: str, seed: Seed, pipe: int) -> None:
    """Runs one attempt and ends the process."""
    faulthandler.disable()
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(null, descriptor)

    def late(*_: object) -> None:
        frames = traceback.extract_stack(sys._getframe(1))[-25:]
        _answer(pipe, {"late": [f"{f.filename}:{f.lineno} {f.name}" for f in frames]})

    signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, WALL_SECONDS)
    try:
        _answer(pipe, attempt(source, seed))
    except MemoryError:
        _answer(pipe, {"rule": "memory"})
    except BaseException:  # noqa: BLE001  nothing may leave the tracer
        _answer(pipe, {"finding": "an exception left the tracer:\n" + traceback.format_exc(limit=-6)})


def _answer(pipe: int, what: dict) -> None:
    os.write(pipe, json.dumps(what).encode()[:60_000])
    os._exit(0)


def run_one(source: str, seed: Seed) -> dict[str, Any]:
    """One attempt in a process of its own."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(read)
        _child(source, seed, write)
    os.close(write)
    ready, _, _ = select.select([read], [], [], WALL_SECONDS + 5)
    data = os.read(read, 1 << 16) if ready else b""
    if not ready:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    os.close(read)
    _, status = os.waitpid(pid, 0)
    if data:
        answer = json.loads(data)
        if "late" in answer:
            return _late(answer["late"], source)
        return answer
    if not ready:
        return {
            "finding": f"no answer in {WALL_SECONDS + 5} seconds, not even to an alarm: C++ that does not end"
        }
    return {
        "finding": f"died with status {status} (signal {os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0})"
    }


def _late(stack: list[str], source: str) -> dict[str, Any]:
    """A kernel whose own Python counts to 2**31 is stopped by its sandbox; a tracer that takes that long is not
    in order."""
    text = "\n    ".join(stack[-12:])
    loops = re.search(r"\bwhile\b|range\(|10 ?\*\* ?|list\(|reversed\(|\d{5,}", source)
    return {"rule": "time"} if loops else {"finding": f"more than {WALL_SECONDS} seconds:\n    {text}"}


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--runs", type=int, default=0, help="stop after this many mutants (0: only by time)")
    parser.add_argument("--keep", type=pathlib.Path, help="folder for the sources of findings")
    options = parser.parse_args()
    seeds = corpus()
    mutator = Mutator([s.source for s in seeds], options.seed)
    end, done, findings = time.monotonic() + options.seconds, 0, 0
    outcomes: dict[str, int] = {}
    while time.monotonic() < end and not (options.runs and done >= options.runs):
        origin, source = mutator.mutant()
        answer = run_one(source, seeds[origin])
        done += 1
        outcomes[answer.get("rule", "FINDING")] = outcomes.get(answer.get("rule", "FINDING"), 0) + 1
        if "finding" in answer:
            findings += 1
            print(
                f"---- mutant {done} of seed {options.seed}: {answer['finding']}\n{source}\n----", flush=True
            )
            if options.keep:
                options.keep.mkdir(parents=True, exist_ok=True)
                (options.keep / f"mutant-{options.seed}-{done}.py").write_text(source)
    top = sorted(outcomes.items(), key=lambda o: -o[1])
    print(f"tracer: {done} mutants, {findings} findings; {len(outcomes)} outcomes: "
          + ", ".join(f"{name} {count}" for name, count in top[:12]))  # fmt: skip
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
