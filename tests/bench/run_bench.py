"""The figures of docs/figures.md, measured in one run on this machine: `./dev bench [--json FILE]`.

Starts its own services on free ports, measures one thing after another, prints a table and, with --json,
writes every number. Exits 1 if a target is missed. Ratios compare things measured in this same run.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass

HERE = pathlib.Path(__file__).resolve().parent
SERVICES = {
    "compile-service": "compile/compile-service",
    "verify-service": "verify/verify-service",
    "llm-gateway": "llm_gateway/llm-gateway",
    "orchestrator": "orchestrator/orchestrator",
}
START_LIMIT_S = 60.0
IDLE_SETTLE_S = 3.0
COMMAND_LIMIT_S = 300.0


@dataclass
class Figure:
    """One measured number with its target; `value` and `target` in `unit`."""

    name: str
    value: float
    unit: str
    target: float
    at_least: bool = False

    @property
    def met(self) -> bool:
        return self.value >= self.target if self.at_least else self.value <= self.target


class Cluster:
    """The four services on free ports, started here and drained at the end."""

    def __init__(self, build_dir: pathlib.Path) -> None:
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="nki-bench-"))
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.address: dict[str, str] = {}
        try:
            for name in ("compile-service", "verify-service", "llm-gateway"):
                self._start(build_dir, name, [])
            self._start(
                build_dir,
                "orchestrator",
                [
                    f"--compile_target={self.address['compile-service']}",
                    f"--verify_target={self.address['verify-service']}",
                    f"--llm_target={self.address['llm-gateway']}",
                    f"--data_dir={self.dir / 'orchestrator'}",
                ],
            )
        except BaseException:
            self.stop()
            raise

    def _start(self, build_dir: pathlib.Path, name: str, options: list[str]) -> None:
        port_file = self.dir / f"{name}.json"
        command = [str(build_dir / "services" / SERVICES[name]), "--port=0", "--metrics_port=0"]
        with open(self.dir / f"{name}.log", "wb") as log:
            self.processes[name] = subprocess.Popen(
                [*command, f"--port_file={port_file}", *options], stdout=log, stderr=subprocess.STDOUT
            )
        end = time.monotonic() + START_LIMIT_S
        while not port_file.exists():
            if self.processes[name].poll() is not None or time.monotonic() > end:
                tail = (self.dir / f"{name}.log").read_text(errors="replace")[-2000:]
                raise RuntimeError(f"{name} did not start: {tail}")
            time.sleep(0.02)
        self.address[name] = json.loads(port_file.read_text())["grpc"]

    def resident_mib(self) -> dict[str, dict[str, float]]:
        """Resident memory of each service and, beside it, of its worker parents (proportional), in MiB."""
        report = {}
        for name, process in self.processes.items():
            workers = sum(_pss_kib(pid) for pid in _descendants(process.pid))
            report[name] = {"service": _rss_kib(process.pid) / 1024, "worker_parents": workers / 1024}
        return report

    def stop(self) -> None:
        for process in reversed(self.processes.values()):
            process.terminate()
        for process in self.processes.values():
            try:
                process.wait(timeout=30)
            except subprocess.TimeoutExpired:
                process.kill()
        shutil.rmtree(self.dir, ignore_errors=True)


def _proc_field(path: str, key: str) -> int:
    """The number behind `key:` in a /proc file, 0 if the process is gone."""
    try:
        with open(path) as lines:
            for line in lines:
                if line.startswith(key + ":"):
                    return int(line.split()[1])
    except OSError:
        return 0
    return 0


def _rss_kib(pid: int) -> int:
    return _proc_field(f"/proc/{pid}/status", "VmRSS")


def _pss_kib(pid: int) -> int:
    return _proc_field(f"/proc/{pid}/smaps_rollup", "Pss")


def _descendants(pid: int) -> list[int]:
    try:
        children = pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        children += [
            child
            for task in pathlib.Path(f"/proc/{pid}/task").iterdir()
            if task.name != str(pid)
            for child in (task / "children").read_text().split()
        ]
    except OSError:
        return []
    found = []
    for child in {int(c) for c in children}:
        found += [child, *_descendants(child)]
    return found


def run_json(command: list[str], **environment: str) -> dict:
    """Runs a command that prints one JSON document."""
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=COMMAND_LIMIT_S, env=os.environ | environment
    )
    if done.returncode != 0:
        raise RuntimeError(f"{command[0]} failed: {done.stderr[-2000:]}")
    return json.loads(done.stdout)


def median_seconds(run: Callable[[], object], repeats: int) -> float:
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def measure_services(build_dir: pathlib.Path, calls: int) -> tuple[list[Figure], dict]:
    """RPC latencies, memory, and the comparison with a fresh interpreter."""
    cluster = Cluster(build_dir)
    try:
        time.sleep(IDLE_SETTLE_S)
        memory = cluster.resident_mib()
        rpc = run_json(
            [
                str(build_dir / "tests/bench/nki_rpc_bench"),
                f"--compile={cluster.address['compile-service']}",
                f"--verify={cluster.address['verify-service']}",
                f"--data={HERE / 'data'}",
                f"--calls={calls}",
            ]
        )
    finally:
        cluster.stop()
    fresh_command = [sys.executable, str(HERE / "fresh_verify.py"), str(HERE / "data/softmax_task.py")]
    fresh = median_seconds(lambda: subprocess.run(fresh_command, check=True), repeats=5)
    verify_ms = rpc["verify_3_trials"]["p50_ms"]
    figures = [
        Figure("warm compile RPC, 50-line kernel, p50", rpc["compile"]["p50_ms"], "ms", 25),
        Figure(
            "warm verify RPC, softmax 128 x 512, 3 trials, p50", rpc["verify_3_trials"]["p50_ms"], "ms", 60
        ),
        Figure(
            "verify by a fresh interpreter / fork-isolated verify",
            fresh * 1e3 / verify_ms,
            "x",
            20,
            at_least=True,
        ),
    ]
    figures += [Figure(f"{name} idle, resident", m["service"], "MiB", 64) for name, m in memory.items()]
    return figures, {"rpc": rpc, "fresh_verify_ms": fresh * 1e3, "resident_mib": memory}


def measure_execution(build_dir: pathlib.Path) -> tuple[list[Figure], dict]:
    """Simulated kernels against torch."""
    simulated = run_json([str(build_dir / "common/nki/exec/nki_exec_bench")])
    torch = run_json([sys.executable, str(HERE / "torch_baseline.py")])
    median = {case["name"]: case["median_ms"] for case in simulated["cases"]}
    figures = [
        Figure(f"simulated {name} / torch", median[case] / torch[f"{case}_ms"], "x", target)
        for name, case, target in (
            ("matmul 1024^3 fp32", "matmul_1024x1024x1024", 3),
            ("softmax 4096 x 1024", "softmax_4096x1024", 5),
        )
    ]
    return figures, {"simulated": simulated, "torch": torch}


def measure_toolchain(build_dir: pathlib.Path) -> tuple[list[Figure], dict]:
    """Kernels in NKI against torch and NumPy, memory, compile time, in a process that loads the modules."""
    root = HERE.parent.parent
    path = os.pathsep.join(str(p) for p in (root, root / "common/nki/frontend", build_dir / "python"))
    report = run_json([sys.executable, str(HERE / "toolchain_figures.py")], PYTHONPATH=path)
    return [Figure(**f) for f in report["figures"]], {"toolchain": report["details"]}


def measure_gateway(build_dir: pathlib.Path, *, with_litellm: bool) -> tuple[list[Figure], dict]:
    """llm-gateway against the same stand-in asked directly, and LiteLLM if wanted."""
    command = [sys.executable, str(HERE / "gateway_figures.py"), f"--build_dir={build_dir}"]
    report = run_json(command + ["--with-litellm"] * with_litellm)
    return [Figure(**f) for f in report["figures"]], report["details"]


def measure_demo(build_dir: pathlib.Path) -> tuple[list[Figure], dict]:
    """The whole demo, services started and drained."""
    start = time.perf_counter()
    done = subprocess.run(
        [str(build_dir / "services/nkictl/nkictl"), "demo"],
        capture_output=True,
        text=True,
        timeout=COMMAND_LIMIT_S,
    )
    seconds = time.perf_counter() - start
    if done.returncode != 0:
        raise RuntimeError(f"the demo failed: {done.stdout[-2000:]}{done.stderr[-2000:]}")
    return [Figure("demo from a warm build", seconds, "s", 30)], {"demo_seconds": seconds}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--build_dir", type=pathlib.Path, required=True)
    parser.add_argument("--json", type=pathlib.Path, help="write every number to this file")
    parser.add_argument("--calls", type=int, default=50, help="timed RPCs of each kind")
    parser.add_argument("--with-litellm", action="store_true", help="compare with LiteLLM from PyPI")
    options = parser.parse_args()
    build_dir = options.build_dir.resolve()

    figures: list[Figure] = []
    details: dict = {}
    for measure in (
        lambda: measure_services(build_dir, options.calls),
        lambda: measure_execution(build_dir),
        lambda: measure_toolchain(build_dir),
        lambda: measure_gateway(build_dir, with_litellm=options.with_litellm),
        lambda: measure_demo(build_dir),
    ):
        more, detail = measure()
        figures += more
        details |= detail

    width = max(len(f.name) for f in figures)
    for f in figures:
        sign = ">=" if f.at_least else "<="
        verdict = "ok" if f.met else "MISSED"
        print(f"{f.name:<{width}}  {f.value:9.2f} {f.unit:<3}  target {sign} {f.target:g}  {verdict}")
    if options.json:
        machine = {"processor": platform.processor() or platform.machine(), "cores": os.cpu_count()}
        report = {
            "machine": machine,
            "figures": [asdict(f) | {"met": f.met} for f in figures],
            "details": details,
        }
        options.json.write_text(json.dumps(report, indent=2) + "\n")
    return 0 if all(f.met for f in figures) else 1


if __name__ == "__main__":
    sys.exit(main())
