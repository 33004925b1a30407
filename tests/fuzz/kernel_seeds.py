"""kernel_seeds.py FOLDER: traces the kernels of the frontend's tests and writes their programs there."""

from __future__ import annotations

import pathlib
import sys

import numpy as np
from nki_frontend.source import load, trace_source
from nki_frontend.tracer import TensorSpec

KERNELS = pathlib.Path(__file__).resolve().parent.parent.parent / "common/nki/frontend/tests/kernels"


def main() -> int:
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    written = 0
    for path in sorted(KERNELS.glob("*.py")):
        source = path.read_text()
        namespace = load(source)
        arrays = namespace["inputs"](np.random.default_rng(0))
        names = namespace["nki_kernel"].function.__code__.co_varnames
        specs = [TensorSpec(n, a.shape, a.dtype) for n, a in zip(names, arrays, strict=False)]
        traced = trace_source(source, "nki_kernel", specs, grid=tuple(namespace.get("GRID", ())))
        if traced.ok:
            (folder / f"kernel_{path.stem}").write_bytes(traced.program)
            written += 1
    return 0 if written else 1


if __name__ == "__main__":
    sys.exit(main())
