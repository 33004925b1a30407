"""Sums over rows by a product with a column of ones, accumulated over row tiles."""

import numpy as np

import neuronxcc.nki as nki
import neuronxcc.nki.language as nl


@nki.jit
def nki_kernel(x):
    rows, cols = x.shape
    out = nl.ndarray((cols,), dtype=x.dtype, buffer=nl.shared_hbm)
    ones = nl.ones((128, 1), dtype=nl.float32)
    acc = nl.zeros((1, cols), dtype=nl.float32, buffer=nl.psum)
    for i in nl.affine_range(rows // 128):
        acc[...] += nl.matmul(ones, nl.load(x[nl.ds(i * 128, 128), :]), transpose_x=True)
    nl.store(out, acc)
    return out


def inputs(rng):
    return [rng.standard_normal((384, 200), dtype=np.float32)]


def reference(x):
    return x.sum(axis=0)
