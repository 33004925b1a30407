"""llm-gateway's figures: the latency it adds to streams, whole answers each second, memory with many open
streams. Part of `./dev bench`. Prints JSON: {"figures": [{name, value, unit, target, at_least}], "details"}.

    gateway_figures.py --build_dir build/release [--with-litellm [--litellm_venv DIR]]
    gateway_figures.py --build_dir build/release --soak SECONDS

Everything talks to the same stand-in (tests/standins/load_standin.cc) on this machine, once directly and once
by way of the gateway. With --with-litellm the LiteLLM proxy is installed from PyPI and asked the same. With
--soak only memory is watched, as `./dev soak --gateway` does: see soak().
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

START_LIMIT_S = 60.0
LITELLM = "litellm[proxy]==1.79.3"
LITELLM_INSTALL_LIMIT_S = 900.0
LITELLM_START_LIMIT_S = 120.0
STREAMS, PIECES, PAUSE_MS = 500, 60, 100
OPEN_STREAMS = 2000
ROUNDS = 4
SOAK_RATE = 40.0
SOAK_BURST = 200
SOAK_WINDOWS = 6
SOAK_LIMIT_MIB_PER_HOUR = 2.0
# The plays of the stand-in; each is a model of its own name, and one that fails all the time has a URL, and
# so a circuit, of its own.
PLAYS = ("chat", "hold", "large", "cut", "silent", "fails", "refuses", "garbage")
STREAMS_PLAYED = (f"stream-{PIECES}-{PAUSE_MS}", "stream-20-5")
MODEL = """
  - name: load-{play}
    provider: openai
    model: {play}
    base_url: {url}
    key_env: NKI_LOAD_KEY
    max_concurrency: 10000
    max_output_tokens: 1000
    prices: {{input: 1, output: 1}}
"""
ALIASES = """
aliases:
  - {name: load-chain, models: [load-fails, load-chat]}
"""


class Bench:
    """The stand-in and a gateway in front of it, for as long as the `with` lasts."""

    def __init__(self, build_dir: pathlib.Path) -> None:
        self.load = build_dir / "tests/bench/nki_gateway_load"
        self.standin_binary = build_dir / "tests/standins/nki_load_standin"
        self.gateway_binary = build_dir / "services/llm_gateway/llm-gateway"
        self.folder = tempfile.TemporaryDirectory(prefix="nki-gateway-bench-")
        self.processes: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Bench:
        standin = subprocess.Popen([self.standin_binary], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.processes.append(standin)
        port = json.loads(standin.stdout.readline())["port"]
        self.url = f"http://127.0.0.1:{port}/v1"
        folder = pathlib.Path(self.folder.name)
        config, port_file = folder / "gateway.yaml", folder / "port.json"
        entries = (
            MODEL.format(play=play, url=self.url + ("/fails" if play == "fails" else ""))
            for play in PLAYS + STREAMS_PLAYED
        )
        config.write_text("models:" + "".join(entries) + ALIASES)
        command = [self.gateway_binary, "--port=0", "--metrics_port=0", f"--config={config}"]
        with open(folder / "gateway.log", "wb") as log:
            self.gateway = subprocess.Popen(
                [*command, f"--port_file={port_file}", "--log_level=warn"],
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, "NKI_LOAD_KEY": "sk-load-0123456789"},
            )
        self.processes.append(self.gateway)
        limit = time.monotonic() + START_LIMIT_S
        while not port_file.exists():
            if self.gateway.poll() is not None or time.monotonic() > limit:
                raise RuntimeError(f"the gateway did not start: {(folder / 'gateway.log').read_text()}")
            time.sleep(0.05)
        self.target = json.loads(port_file.read_text())["grpc"]
        return self

    def __exit__(self, *_: object) -> None:
        for process in reversed(self.processes):
            process.kill()
            process.wait()
        self.folder.cleanup()

    def rss_mib(self) -> float:
        """Resident memory of the gateway."""
        for line in pathlib.Path(f"/proc/{self.gateway.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) / 1024
        raise RuntimeError("no VmRSS")

    def cpu_seconds(self) -> float:
        """Processor time that the gateway has taken."""
        fields = pathlib.Path(f"/proc/{self.gateway.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def run(self, what: str, *options: str) -> dict:
        """One run of the load."""
        done = subprocess.run(
            [self.load, what, *options], capture_output=True, text=True, timeout=600, check=False
        )
        if done.returncode != 0:
            raise RuntimeError(f"{what} {options}: {done.stderr}")
        report = json.loads(done.stdout)
        if report.get("failed"):
            raise RuntimeError(f"{what} {options}: {report}")
        return report

    def latency(self, *where: str) -> dict:
        """Ages of pieces with many streams at once."""
        shape = ("--streams", str(STREAMS), "--pieces", str(PIECES), "--pause_ms", str(PAUSE_MS))
        return self.run("latency", *where, *shape)

    def throughput(self, *where: str, seconds: float = 3.0) -> dict:
        """Whole answers."""
        return self.run("throughput", *where, "--concurrency", "64", "--seconds", str(seconds))

    @property
    def completions(self) -> str:
        return f"{self.url}/chat/completions"


def figure(name: str, value: float, unit: str, target: float, *, at_least: bool = False) -> dict:
    """One figure as run_bench.py takes it."""
    return {"name": name, "value": value, "unit": unit, "target": target, "at_least": at_least}


def measure_open_streams(bench: Bench, streams: int = OPEN_STREAMS) -> float:
    """Memory with so many streams open."""
    command = [bench.load, "hold", "--gateway", bench.target, "--streams", str(streams)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        if not holder.stdout.readline():
            raise RuntimeError("the streams could not be opened")
        rss = bench.rss_mib()
        holder.stdin.close()
        holder.wait(timeout=60)
    return rss


def install_litellm(venv: pathlib.Path) -> None:
    """Puts the proxy into the folder, unless it is there."""
    if (venv / "bin/litellm").exists():
        return
    for command in (
        [sys.executable, "-m", "venv", venv],
        [venv / "bin/python", "-m", "pip", "install", "--quiet", LITELLM],
    ):
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=LITELLM_INSTALL_LIMIT_S, check=False
        )
        if done.returncode != 0:
            raise RuntimeError(f"LiteLLM can't be installed: {done.stderr[-2000:]}")


def measure_litellm(bench: Bench, venv: pathlib.Path | None) -> float:
    """Calls a second that the LiteLLM proxy passes on to the same stand-in, with a process for each core."""
    with tempfile.TemporaryDirectory(prefix="nki-litellm-") as name:
        folder = pathlib.Path(name)
        venv = (venv or folder / "venv").resolve()
        install_litellm(venv)
        (folder / "config.yaml").write_text(
            "model_list:\n  - model_name: chat\n    litellm_params:\n      model: openai/chat\n"
            f"      api_base: {bench.url}\n      api_key: sk-load\n"
        )
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        command = [venv / "bin/litellm", "--config", "config.yaml", "--host", "127.0.0.1"]
        command += ["--port", str(port), "--num_workers", str(os.cpu_count() or 1), "--telemetry", "False"]
        # It would ask the network for prices, and go to the stand-in by way of a proxy.
        here = {"NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}
        environment = {**os.environ, **here, "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
        with open(folder / "log", "wb") as log:
            proxy = subprocess.Popen(
                command,
                cwd=folder,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment,
                start_new_session=True,
            )
        try:
            await_http(f"http://127.0.0.1:{port}/health/liveliness", proxy)
            where = ("--direct", f"http://127.0.0.1:{port}/v1/chat/completions", "--model", "chat")
            bench.throughput(*where, seconds=3)
            return max(bench.throughput(*where)["calls_per_s"] for _ in range(2))
        except RuntimeError as error:
            log_end = (folder / "log").read_text(errors="replace")[-2000:]
            raise RuntimeError(f"LiteLLM: {error}; its log ends: {log_end}") from error
        finally:
            os.killpg(proxy.pid, signal.SIGKILL)  # its workers too
            proxy.wait()


def await_http(url: str, process: subprocess.Popen[bytes]) -> None:
    """Waits until the address answers."""
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    limit = time.monotonic() + LITELLM_START_LIMIT_S
    while time.monotonic() < limit and process.poll() is None:
        try:
            direct.open(url, timeout=2).close()
            return
        except OSError:
            time.sleep(0.2)
    raise RuntimeError(f"{url} does not answer")


def measure(build_dir: pathlib.Path, *, with_litellm: bool, venv: pathlib.Path | None) -> dict:
    """All figures. Of what is repeated the best round counts, which a busy machine disturbs least."""
    details: dict = {}
    with Bench(build_dir) as bench:
        gateway, direct = ("--gateway", bench.target), ("--direct", bench.completions)
        bench.throughput(*gateway, seconds=1)
        rounds = [(bench.latency(*direct), bench.latency(*gateway)) for _ in range(ROUNDS)]
        # Each way's best round: a difference of one round may be the luck of the direct way.
        added = {q: min(g[q] for _, g in rounds) - min(d[q] for d, _ in rounds) for q in ("p50_ms", "p99_ms")}
        calls = [bench.throughput(*gateway) for _ in range(ROUNDS)]
        best = max(c["calls_per_s"] for c in calls)
        rss = measure_open_streams(bench)
        details["gateway"] = {"latency": rounds, "throughput": calls, "open_streams_rss_mib": rss}
        details["gateway"]["direct"] = bench.throughput("--model", "chat", *direct)
        figures = [
            figure(f"gateway: added latency p50, {STREAMS} streams", added["p50_ms"], "ms", 1),
            figure(f"gateway: added latency p99, {STREAMS} streams", added["p99_ms"], "ms", 5),
            figure("gateway: unary calls", best, "/s", 3000, at_least=True),
            figure(f"gateway: memory, {OPEN_STREAMS} open streams", rss, "MiB", 200),
        ]
        if with_litellm:
            other = measure_litellm(bench, venv)
            details["gateway"]["litellm_calls_per_s"] = other
            figures.append(figure("gateway / LiteLLM proxy, calls", best / other, "x", 10, at_least=True))
    return {"figures": figures, "details": details}


def slope_per_hour(samples: list[tuple[float, float]]) -> float:
    """The slope of a line through (seconds, size) by least squares, in sizes an hour."""
    n = len(samples)
    mean_t = sum(t for t, _ in samples) / n
    mean_y = sum(y for _, y in samples) / n
    spread = sum((t - mean_t) ** 2 for t, _ in samples)
    return 3600 * sum((t - mean_t) * (y - mean_y) for t, y in samples) / spread


def floors(samples: list[tuple[float, float]], window: float) -> list[tuple[float, float]]:
    """The smallest size of each window of time. Calls in progress and what the allocator keeps for a while
    come on top of what is held for good, and only that may not grow."""
    lowest: dict[int, tuple[float, float]] = {}
    for t, size in samples:
        at = int(t // window)
        lowest[at] = min(lowest.get(at, (t, size)), (t, size), key=lambda sample: sample[1])
    return [lowest[at] for at in sorted(lowest)]


class Sampler:
    """Samples the gateway's memory every second on a thread, for as long as the `with` lasts."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.begin = time.monotonic()
        self.samples: list[tuple[float, float]] = []
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self.run)

    def __enter__(self) -> Sampler:
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.ended.set()
        self.thread.join()

    def run(self) -> None:
        """The thread."""
        while not self.ended.wait(1):
            self.samples.append((time.monotonic() - self.begin, self.bench.rss_mib()))


def soak(build_dir: pathlib.Path, seconds: float, rate: float) -> dict:
    """Whether the gateway grows under a gentle mix of all that callers do, and bursts of streams.

    The verdict is the slope of the floor by least squares, from windows of a sixth of the time each. The
    first is left out: allocators, connections and bounded memories fill. What lies idle below the trimmer's
    slack comes and goes by some MiB over many minutes, which shorter windows would take for growth.
    """
    with Bench(build_dir) as bench:
        idle = bench.rss_mib()
        options = ("--rate", str(rate), "--seconds", str(seconds))
        mix = subprocess.Popen(
            [bench.load, "mixed", "--gateway", bench.target, *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        bench.processes.append(mix)
        last: dict = {}
        with Sampler(bench) as sampler:
            for number, line in enumerate(mix.stdout):
                last = json.loads(line)
                if sampler.samples:
                    now, size = sampler.samples[-1]
                    print(f"{now:.0f} s: {size:.2f} MiB", file=sys.stderr, flush=True)
                if number % 6 == 0:
                    measure_open_streams(bench, SOAK_BURST)
        if mix.wait(timeout=60) != 0:
            raise RuntimeError(f"the load failed: {mix.stderr.read()}")
        cpu = bench.cpu_seconds()
    lowest = floors([sample for sample in sampler.samples if sample[0] < seconds], seconds / SOAK_WINDOWS)
    if len(lowest) < SOAK_WINDOWS:
        raise RuntimeError(f"{seconds:g} s are too short for a slope")
    growth = slope_per_hour(lowest[1:])
    return {
        "figures": [
            figure(f"gateway: growth, soak of {seconds:g} s", growth, "MiB/h", SOAK_LIMIT_MIB_PER_HOUR)
        ],
        "details": {
            "gateway_soak": {
                "rate": rate,
                "rss_mib_idle": idle,
                "rss_mib_after_a_sixth": next(
                    size for t, size in sampler.samples if t >= seconds / SOAK_WINDOWS
                ),
                "rss_mib_end": sampler.samples[-1][1],
                "rss_mib_highest": max(size for _, size in sampler.samples),
                "gateway_cpu_share": cpu / seconds,
                "calls": last,
                "floors": lowest,
                "floors_of_minutes": floors(sampler.samples, 60),
            }
        },
    }


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--build_dir", type=pathlib.Path, required=True)
    parser.add_argument(
        "--with-litellm", action="store_true", help="compare with the LiteLLM proxy from PyPI"
    )
    parser.add_argument(
        "--litellm_venv",
        type=pathlib.Path,
        help="where the LiteLLM proxy is or will be installed (default: a throwaway folder)",
    )
    parser.add_argument("--soak", type=float, help="watch memory for so many seconds instead")
    parser.add_argument("--rate", type=float, default=SOAK_RATE, help="calls a second of the soak")
    options = parser.parse_args()
    build_dir = options.build_dir.resolve()
    if options.soak is None:
        print(json.dumps(measure(build_dir, with_litellm=options.with_litellm, venv=options.litellm_venv)))
        return
    report = soak(build_dir, options.soak, options.rate)
    print(json.dumps(report))
    sys.exit(0 if all(f["value"] <= f["target"] for f in report["figures"]) else 1)


if __name__ == "__main__":
    main()
