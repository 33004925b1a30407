"""Tensor addition with one program of the launch grid for each 128 x 256 tile."""

import numpy as np

import neuronxcc.nki as nki
import neuronxcc.nki.language as nl

GRID = (2, 3)


@nki.jit
def nki_kernel(a, b):
    out = nl.ndarray(a.shape, dtype=a.dtype, buffer=nl.shared_hbm)
    row = nl.program_id(0) * 128 + nl.arange(128)[:, None]
    col = nl.program_id(1) * 256 + nl.arange(256)[None, :]
    x = nl.load(a[row, col])
    y = nl.load(b[row, col])
    nl.store(out[row, col], value=nl.add(x, y))
    return out


def inputs(rng):
    return [rng.standard_normal((256, 768)).astype(np.float16) for _ in range(2)]


def reference(a, b):
    return (a.astype(np.float32) + b.astype(np.float32)).astype(np.float16)
