"""The toolchain's figures: kernels of tests/bench/kernels against torch and against a NumPy interpreter,
memory, compile time. Prints JSON: {"figures": [{name, value, unit, target, at_least}], "details": {...}}.
Part of `./dev bench`.

Everything that is compared runs in this process, turn by turn; of each the best round counts, which a busy
machine disturbs least. Memory is measured in processes of their own.
"""

from __future__ import annotations

import argparse
import functools
import inspect
import json
import os
import pathlib
import subprocess
import sys
import time
from collections.abc import Callable

import numpy as np

HERE = pathlib.Path(__file__).resolve().parent
ROUNDS = 7
SETTLE_S = 0.02
ROWS, COLUMNS = 4096, 1024
MATMUL = 2048
LENGTH, HEAD = 4096, 128
BAND = {"matmul": 1.5, "attention": 1.5}
ELEMENTWISE_BAND = 3.0
INTERPRETER_BAND = 20.0
MEMORY_BAND = 1.5
TRACE_BAND = 1.5


def arrays(name: str) -> list[np.ndarray]:
    """The arguments of a kernel, always the same."""
    rng = np.random.default_rng(0)
    shapes = {
        "matmul": [(MATMUL, MATMUL)] * 2,
        "attention": [(HEAD, LENGTH)] * 3,
        "add": [(ROWS, COLUMNS)] * 2,
        "layer_norm": [(ROWS, COLUMNS), (COLUMNS,), (COLUMNS,)],
        "rms_norm": [(ROWS, COLUMNS), (COLUMNS,)],
        "million": [(128, 516)],
    }
    return [rng.standard_normal(s, dtype=np.float32) for s in shapes.get(name, [(ROWS, COLUMNS)])]


def torch_forms(name: str, inputs: list[np.ndarray]) -> Callable:
    """The same computation as somebody writes it in torch."""
    import torch
    from torch.nn import functional

    x = [torch.from_numpy(a) for a in inputs]
    if name == "attention":
        heads = [a.T.contiguous()[None, None] for a in x]
        return lambda: functional.scaled_dot_product_attention(*heads)[0, 0]
    return {
        "matmul": lambda: x[0].T @ x[1],
        "add": lambda: x[0] + x[1],
        "gelu": lambda: functional.gelu(x[0]),
        "softmax": lambda: torch.softmax(x[0], dim=-1),
        "layer_norm": lambda: functional.layer_norm(x[0], (COLUMNS,), *x[1:]),
        "rms_norm": lambda: functional.rms_norm(x[0], (COLUMNS,), x[1], 1e-5),
    }[name]


class Kernel:
    """A kernel of tests/bench/kernels, traced and checked for its arguments."""

    def __init__(self, name: str, inputs: list[np.ndarray]):
        from nki_frontend import tracer
        from nki_frontend.simulate import check
        from nki_frontend.source import load, trace_source

        self.inputs = inputs
        source = (HERE / "kernels" / f"{name}.py").read_text()
        names = inspect.signature(load(source)["nki_kernel"].function).parameters
        specs = [tracer.TensorSpec(n, a.shape, a.dtype) for n, a in zip(names, inputs, strict=True)]
        lower = tracer.lower

        def keep(*args: object) -> dict:
            self.spec = lower(*args)
            return self.spec

        tracer.lower = keep
        try:
            start = time.perf_counter()
            traced = trace_source(source, "nki_kernel", specs)
            self.trace_s = time.perf_counter() - start
        finally:
            tracer.lower = lower
        errors = [d for d in (*traced.diagnostics, *check(traced.program)) if d.severity == "error"]
        if errors:
            raise RuntimeError(f"kernel {name}: {errors}")
        self.program = traced.program
        self.outputs = [np.zeros(o.shape, o.dtype) for o in traced.outputs]
        self._flat = [[a.reshape(-1).view(np.uint8) for a in side] for side in (self.inputs, self.outputs)]

    def execute(self) -> dict:
        """One execution on both cores; `outputs` has the results."""
        import _nki_exec

        report = _nki_exec.execute(self.program, *self._flat)
        if not report["completed"]:
            raise RuntimeError(str(report["diagnostics"]))
        return report


def best_of(rounds: int, *runs: Callable) -> list[float]:
    """The shortest time of each, in milliseconds, taken in turns after one round that doesn't count."""
    times: list[list[float]] = [[] for _ in runs]
    for _ in range(rounds + 1):
        for run, own in zip(runs, times, strict=True):
            time.sleep(SETTLE_S)  # the other's threads stop waiting for work
            start = time.perf_counter()
            run()
            own.append((time.perf_counter() - start) * 1e3)
    return [min(own[1:]) for own in times]


def check_result(name: str, got: np.ndarray, want: np.ndarray) -> None:
    """Speed counts only where the result is right."""
    error = float(np.abs(got - want).max())
    if not error < 1e-3:
        raise RuntimeError(f"{name}: wrong by {error}")


def measure_speed(name: str) -> tuple[list[dict], dict]:
    """A kernel against torch and the NumPy interpreter."""
    import torch

    from tests.support.numpy_interpreter import Interpreter

    kernel = Kernel(name, arrays(name))
    reference = torch_forms(name, kernel.inputs)
    with torch.inference_mode():
        report = kernel.execute()
        want = reference().numpy()
        check_result(name, kernel.outputs[0], want)
        ours, torch_ms = best_of(ROUNDS, kernel.execute, reference)
    interpreted = {}
    for boxes in (False, True):
        start = time.perf_counter()
        (result,) = Interpreter(kernel.spec, kernel.inputs, boxes=boxes).run()
        interpreted[boxes] = (time.perf_counter() - start) * 1e3
        check_result(f"{name} interpreted", result, want)
    size = {"matmul": f"{MATMUL}^3 fp32", "attention": f"{LENGTH} x {HEAD}"}.get(name, f"{ROWS} x {COLUMNS}")
    title = f"simulated {name.replace('_', ' ')} {size}"
    figures = [
        figure(f"{title} / torch", ours / torch_ms, "x", BAND.get(name, ELEMENTWISE_BAND)),
        figure(
            f"NumPy interpreter / {title}", interpreted[False] / ours, "x", INTERPRETER_BAND, at_least=True
        ),
    ]
    return figures, {
        "simulated_ms": ours,
        "torch_ms": torch_ms,
        "numpy_interpreter_ms": interpreted[False],
        "numpy_interpreter_by_slices_ms": interpreted[True],
        "instructions": report["instructions"],
    }


def figure(name: str, value: float, unit: str, target: float, *, at_least: bool = False) -> dict:
    """One row of the report."""
    return {"name": name, "value": value, "unit": unit, "target": target, "at_least": at_least}


# ---- Memory


def live_bytes(spec: dict) -> tuple[int, int]:
    """Bytes of all HBM tensors, and of the on-chip tiles alive at the worst point, as declared."""
    from tests.support.numpy_arithmetic import DTYPE

    tensors = spec["tensors"]

    def size(t: tuple) -> int:
        return int(np.prod(t[4], dtype=np.int64)) * DTYPE[t[2]].itemsize

    def storage(number: int) -> int:
        return tensors[number][7] if tensors[number][7] >= 0 else number

    @functools.cache
    def used(node_id: int) -> frozenset:
        node = by_id[node_id]
        if node[0] == "L":
            return frozenset().union(*(used(id(n)) for n in node[6]))
        operands = [o for o in (*node[3], *node[4]) if o is not None and len(o) > 2]
        return frozenset(storage(t) for o in operands for t in (o[0], o[5]) if t >= 0)

    by_id: dict[int, tuple] = {}

    def index(nodes: list) -> None:
        for node in nodes:
            by_id[id(node)] = node
            if node[0] == "L":
                index(node[6])

    def peak(nodes: list, scope: int) -> int:
        first, last = {}, {}
        for step, node in enumerate(nodes):
            for t in used(id(node)):
                if tensors[t][1] >= 3 and tensors[t][6] == scope:
                    first.setdefault(t, step)
                    last[t] = step
        worst = 0
        for step, node in enumerate(nodes):
            alive = sum(size(tensors[t]) for t in first if first[t] <= step <= last[t])
            worst = max(worst, alive + (peak(node[6], node[1]) if node[0] == "L" else 0))
        return worst

    index(spec["body"])
    hbm = sum(size(t) for t in tensors if t[1] < 3 and t[7] < 0)
    return hbm, peak(spec["body"], -1)


def status_kib(key: str) -> int:
    """A number of /proc/self/status."""
    for line in pathlib.Path("/proc/self/status").read_text().splitlines():
        if line.startswith(key + ":"):
            return int(line.split()[1])
    raise RuntimeError(f"no {key}")


def probe_memory(name: str) -> dict:
    """In a process of its own: what one execution adds to the memory of this process at its peak."""
    kernel = Kernel(name, arrays(name))
    for a in kernel.outputs:
        a.fill(1)  # its pages exist
    arguments = sum(a.nbytes for a in (*kernel.inputs, *kernel.outputs))
    pathlib.Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    before = status_kib("VmRSS")
    kernel.execute()
    peak = arguments + (status_kib("VmHWM") - before) * 1024
    hbm, on_chip = live_bytes(kernel.spec)
    return {"peak_bytes": peak, "hbm_bytes": hbm, "on_chip_bytes": on_chip, "ratio": peak / (hbm + on_chip)}


def probe_compile(name: str) -> dict:
    """In a process of its own: trace, check and time a kernel, as compile-service does."""
    import _nki_exec

    inputs = arrays(name)
    start = time.perf_counter()
    kernel = Kernel(name, inputs)
    estimate = _nki_exec.estimate(kernel.program)
    seconds = time.perf_counter() - start
    resident = status_kib("VmHWM") / 1024
    return {"seconds": seconds, "resident_mib": resident, "latency_us": estimate["latency_us"]}


def in_child(probe: str, name: str) -> dict:
    """Runs a probe in a process of its own."""
    command = [sys.executable, __file__, f"--{probe}", name]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    if done.returncode != 0:
        raise RuntimeError(done.stderr[-2000:])
    return json.loads(done.stdout)


def measure_trace() -> tuple[list[dict], dict]:
    """Tracing a loop of many iterations against one of few."""
    few, many = (
        min(Kernel("softmax", [np.zeros((rows, 64), np.float32)]).trace_s for _ in range(ROUNDS)) * 1e3
        for rows in (128 * 4, 128 * 4096)
    )
    value = figure("trace of 4096 iterations / of 4", many / few, "x", TRACE_BAND)
    return [value], {"trace_4_ms": few, "trace_4096_ms": many}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--memory", help="internal: probe this kernel's memory")
    parser.add_argument("--compile", help="internal: probe the compilation of this kernel")
    parser.add_argument("--kernels", nargs="*", help="only these (default: all)")
    options = parser.parse_args()
    if options.memory or options.compile:
        probed = probe_memory(options.memory) if options.memory else probe_compile(options.compile)
        print(json.dumps(probed))
        return
    figures: list[dict] = []
    details: dict = {"cores": os.cpu_count()}
    names = options.kernels or ["matmul", "attention", "add", "gelu", "softmax", "layer_norm", "rms_norm"]
    for name in names:
        more, details[name] = measure_speed(name)
        figures += more
    for name in names:
        details[name]["memory"] = memory = in_child("memory", name)
        title = f"peak memory of {name.replace('_', ' ')} / its tensors and live tiles"
        figures.append(figure(title, memory["ratio"], "x", MEMORY_BAND))
    more, details["trace"] = measure_trace()
    figures += more
    details["million"] = million = in_child("compile", "million")
    figures.append(figure("compile of 1,000,000 executed instructions", million["seconds"], "s", 2))
    figures.append(figure("compile of 1,000,000, resident", million["resident_mib"], "MiB", 1024))
    figures.sort(key=lambda f: (f["at_least"], "memory" in f["name"], "compile" in f["name"]))
    print(json.dumps({"figures": figures, "details": details}))


if __name__ == "__main__":
    main()
