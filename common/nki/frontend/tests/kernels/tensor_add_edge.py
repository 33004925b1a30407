"""Tensor addition of sizes that are no multiple of the tile: masks on the last row and column tiles."""

import math

import numpy as np

import neuronxcc.nki as nki
import neuronxcc.nki.language as nl


@nki.jit
def nki_kernel(a, b):
    rows, cols = a.shape
    out = nl.ndarray(a.shape, dtype=a.dtype, buffer=nl.shared_hbm)
    ip = nl.arange(128)[:, None]
    jf = nl.arange(200)[None, :]
    for i in nl.affine_range(math.ceil(rows / 128)):
        for j in nl.affine_range(math.ceil(cols / 200)):
            inside = (i * 128 + ip < rows) & (j * 200 + jf < cols)
            x = nl.load(a[i * 128 + ip, j * 200 + jf], mask=inside)
            y = nl.load(b[i * 128 + ip, j * 200 + jf], mask=inside)
            z = nl.add(x, y, mask=inside)
            nl.store(out[i * 128 + ip, j * 200 + jf], z, mask=inside)
    return out


def inputs(rng):
    return [rng.standard_normal((300, 450), dtype=np.float32) for _ in range(2)]


def reference(a, b):
    return a + b
