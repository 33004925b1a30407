"""Runs every fuzzer for its share of the time, one after another, at the lowest priority: `./dev soak`.

Prints what was executed, and where the input of each finding lies. Exits 1 if there was a finding, or if a
fuzzer executed nothing. Corpora are kept between runs in the fuzz build's folder.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import pathlib
import re
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
FRONTEND = ROOT / "common/nki/frontend"
TRACER = FRONTEND / "tests/fuzz_tracer.py"
# Parts of the time. The executor has the most to go wrong.
SHARES = {"loader": 2, "analysis": 2, "executor": 4, "tracer": 2}
INPUT_TIMEOUT_S = 25
INPUT_MEMORY_MIB = 2048
MAX_INPUT_BYTES = 1 << 14
GRACE_S = 120
TAIL_CHARACTERS = 3000


@dataclasses.dataclass
class Result:
    """What one fuzzer did."""

    name: str
    executions: int
    seconds: float
    findings: list[str]
    log: str


def run(command: list[str], seconds: float, **environment: str) -> tuple[int, str, float]:
    """The exit status, the output, and how long it took; a fuzzer that does not end is a finding as well."""
    start = time.monotonic()
    try:
        done = subprocess.run(
            ["nice", "-n", "19", *command],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=seconds + GRACE_S,
            env=os.environ | environment,
        )
    except subprocess.TimeoutExpired as e:
        output = e.output.decode(errors="replace") if isinstance(e.output, bytes) else (e.output or "")
        return 1, output + "\ndid not end in time", time.monotonic() - start
    return done.returncode, done.stdout, time.monotonic() - start


def fuzz_native(name: str, options: argparse.Namespace, seconds: float) -> Result:
    """A libFuzzer target."""
    work = options.fuzz_dir / "soak" / name
    corpus, findings = work / "corpus", work / "findings"
    for folder in (corpus, findings):
        folder.mkdir(parents=True, exist_ok=True)
    before = set(findings.iterdir())
    command = [
        str(options.fuzz_dir / f"tests/fuzz/nki_fuzz_{name}"),
        str(corpus),
        str(options.fuzz_dir / "soak/seeds"),
        f"-max_total_time={max(int(seconds), 1)}",
        f"-timeout={INPUT_TIMEOUT_S}",
        f"-rss_limit_mb={INPUT_MEMORY_MIB}",
        f"-max_len={MAX_INPUT_BYTES}",
        f"-artifact_prefix={findings}/",
        "-print_final_stats=1",
    ]
    # One thread of the BLAS; the address space of a sanitized process is reserved, not used.
    status, log, took = run(command, seconds, OPENBLAS_NUM_THREADS="1")
    executed = re.findall(r"stat::number_of_executed_units:\s*(\d+)", log)
    found = [str(f) for f in sorted(set(findings.iterdir()) - before)]
    if status != 0 and not found:
        found = [f"exit status {status}"]
    return Result(name, int(executed[-1]) if executed else 0, took, found, log)


def fuzz_tracer(options: argparse.Namespace, seconds: float) -> Result:
    """Mutated kernels through the Python tracer."""
    keep = options.fuzz_dir / "soak/tracer/findings"
    keep.mkdir(parents=True, exist_ok=True)
    before = set(keep.iterdir())
    path = os.pathsep.join(str(p) for p in (ROOT, FRONTEND, options.release_dir / "python"))
    command = [
        sys.executable,
        str(TRACER),
        f"--seconds={seconds}",
        f"--seed={options.seed}",
        f"--keep={keep}",
    ]
    status, log, took = run(command, seconds, PYTHONPATH=path)
    executed = [int(n) for n in re.findall(r"(\d+) (?:mutants|runs|kernels)", log)]
    found = [str(f) for f in sorted(set(keep.iterdir()) - before)]
    if status != 0 and not found:
        found = [f"exit status {status}"]
    return Result("tracer", max(executed, default=0), took, found, log)


def write_seeds(options: argparse.Namespace) -> None:
    """Programs to start from: one of each kind, and the kernels of the frontend's tests."""
    seeds = options.fuzz_dir / "soak/seeds"
    subprocess.run([str(options.fuzz_dir / "tests/fuzz/nki_fuzz_seeds"), str(seeds)], check=True)
    path = os.pathsep.join(str(p) for p in (FRONTEND, options.release_dir / "python"))
    command = [sys.executable, str(pathlib.Path(__file__).parent / "kernel_seeds.py"), str(seeds)]
    subprocess.run(command, check=True, env=os.environ | {"PYTHONPATH": path})


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--fuzz_dir", type=pathlib.Path, required=True, help="build folder of the fuzz preset"
    )
    parser.add_argument(
        "--release_dir", type=pathlib.Path, required=True, help="build folder with the modules"
    )
    parser.add_argument("--minutes", type=float, default=20, help="for all fuzzers together")
    parser.add_argument("--seed", type=int, default=1, help="of the tracer's mutants")
    parser.add_argument("--only", choices=sorted(SHARES), help="one fuzzer alone")
    options = parser.parse_args()
    options.fuzz_dir, options.release_dir = options.fuzz_dir.resolve(), options.release_dir.resolve()
    write_seeds(options)
    names = [options.only] if options.only else [n for n in SHARES if n != "tracer" or TRACER.exists()]
    failed = False
    for name in names:
        seconds = options.minutes * 60 * SHARES[name] / sum(SHARES[n] for n in names)
        result = fuzz_tracer(options, seconds) if name == "tracer" else fuzz_native(name, options, seconds)
        bad = bool(result.findings) or result.executions == 0
        failed |= bad
        print(
            f"{result.name:<9} {result.executions:>10} executions in {result.seconds:7.1f} s, "
            f"{len(result.findings)} findings",
            flush=True,
        )
        if bad:
            print(result.log[-TAIL_CHARACTERS:])
        for finding in result.findings:
            print(f"finding: {finding}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
