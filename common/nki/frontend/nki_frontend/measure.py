"""nki.benchmark and nki.profile without a device: the kernel runs in the simulator, latencies are the timing
model's.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .jit import Kernel, TensorAnnotation, decorator

# What the SDK's neuron-bench reports.
_PERCENTILES = (0, 1, 10, 25, 50, 90, 99, 100)


class Latency:
    """Latency of a kernel on the NeuronCore, in microseconds, estimated by the timing model. The model has no
    noise: all percentiles are the same number.
    """

    def __init__(self, latency_us: float):
        self.estimated_us = latency_us

    def get_latency_percentile(self, percentile: int) -> float:
        """Microseconds."""
        if percentile not in _PERCENTILES:
            raise ValueError(f"percentile {percentile!r} is not one of {', '.join(map(str, _PERCENTILES))}")
        return self.estimated_us

    def __repr__(self) -> str:
        return f"Latency({self.estimated_us:.2f} us, estimated by the timing model)"


class BenchmarkResult:
    """What `kernel.benchmark_result` holds after a call."""

    def __init__(self, latency_us: float):
        self.nc_latency = Latency(latency_us)


class _Measured(Kernel):
    """A kernel that runs in the simulator and tells what a device would have added."""

    def __init__(self, function: Any, mode: str, grid: tuple = (), **options: Any):
        super().__init__(function, mode, grid, **options)
        self._shared: dict = {}

    def __getitem__(self, grid: object) -> _Measured:
        kernel = type(self)(self.function, self.mode, super().__getitem__(grid).grid, **self.options)
        kernel._shared = self._shared  # kernel[2](x) leaves its result in `kernel`
        return kernel

    def _write_timeline(self, program: bytes) -> str | None:
        """Writes the estimated timeline if the caller named a trace file; its path. An NTFF only comes from a
        device, so the file is Trace Event JSON (ui.perfetto.dev) and its name ends in .json.
        """
        name = self.options.get("save_trace_name")
        if not name:
            return None
        import _nki_exec

        path = Path(self.options.get("working_directory") or ".") / name
        if path.suffix != ".json":
            path = path.with_name(path.name + ".json")
        if path.exists() and not self.options.get("overwrite", False):
            self._say(f"{path} is there already and stays as it is: pass overwrite=True to replace it")
            return None
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(_nki_exec.timeline(program), encoding="utf-8")
        return str(path)

    def runs_on(self, values: tuple) -> bool:
        """Tensors without contents (nt.tensor[[...], dtype]) are enough to measure; nothing is computed."""
        return not any(isinstance(v, TensorAnnotation) for v in values)

    def _say(self, text: str) -> None:
        print(f"nki.{self.mode} of {self.__name__}: {text}", file=sys.stderr)


class BenchmarkKernel(_Measured):
    """A kernel under nki.benchmark."""

    @property
    def benchmark_result(self) -> BenchmarkResult:
        """Of the last call."""
        if "result" not in self._shared:
            raise AttributeError(f"kernel {self.__name__} has no benchmark_result before it is called")
        return self._shared["result"]

    def finished(self, program: bytes) -> None:
        """Estimates the latency of the program that has just run."""
        import _nki_exec

        estimate = _nki_exec.estimate(program)
        self._shared["result"] = BenchmarkResult(estimate["latency_us"])
        timeline = self._write_timeline(program)
        written = f"the estimated timeline is in {timeline}" if timeline else "no NEFF or trace is written"
        self._say(
            f"{estimate['latency_us']:.2f} us on one NeuronCore-v2, estimated by the timing model: there is "
            f"no device to measure on, and {written}"
        )


class ProfileKernel(_Measured):
    """A kernel under nki.profile."""

    def finished(self, program: bytes) -> None:
        """Writes the estimated timeline if asked, and says what is missing."""
        timeline = self._write_timeline(program)
        written = (
            f"the timing model's timeline is in {timeline}, for ui.perfetto.dev, and no NEFF"
            if timeline
            else "no NEFF and no profile"
        )
        self._say(
            "a profile needs an attached Neuron device: the kernel ran in the simulator, "
            f"{written} is written"
        )


def benchmark(kernel: Callable | None = None, **kwargs: Any) -> Any:
    """nki.benchmark: a call runs the kernel and leaves its estimated latency in `kernel.benchmark_result`."""
    return decorator("benchmark", BenchmarkKernel)(kernel, **kwargs)


def profile(func: Callable | None = None, **kwargs: Any) -> Any:
    """nki.profile: a call runs the kernel; with save_trace_name the estimated timeline is written."""
    return decorator("profile", ProfileKernel)(func, **kwargs)
