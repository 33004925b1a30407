"""Embedding lookup: an index tile selects rows of an HBM table; masked for the last partial tile."""

import math

import numpy as np

import neuronxcc.nki as nki
import neuronxcc.nki.language as nl


@nki.jit
def nki_kernel(table, ids):
    count = ids.shape[0]
    width = table.shape[1]
    out = nl.ndarray((count, width), dtype=table.dtype, buffer=nl.shared_hbm)
    p = nl.arange(128)[:, None]
    f = nl.arange(width)[None, :]
    ids2d = ids.reshape((count, 1))
    for i in nl.affine_range(math.ceil(count / 128)):
        inside = i * 128 + p < count
        index = nl.load(ids2d[i * 128 + p, nl.arange(1)[None, :]], mask=inside)
        rows = nl.load(table[index, f], mask=inside)
        nl.store(out[i * 128 + p, f], rows, mask=inside)
    return out


def inputs(rng):
    return [rng.standard_normal((1000, 48), dtype=np.float32), rng.integers(0, 1000, 200).astype(np.int32)]


def reference(table, ids):
    return table[ids]
