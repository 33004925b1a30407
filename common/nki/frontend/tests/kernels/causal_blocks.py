"""A condition on two loop indices: those loops are cut, the innermost stays a loop."""

import numpy as np

import neuronxcc.nki as nki
import neuronxcc.nki.language as nl


@nki.jit
def nki_kernel(x):
    rows, cols = x.shape
    out = nl.ndarray(x.shape, dtype=x.dtype, buffer=nl.shared_hbm)
    for i in nl.affine_range(rows // 128):
        for j in nl.affine_range(cols // 128):
            for h in nl.affine_range(4):
                tile = nl.load(x[nl.ds(i * 128, 128), nl.ds(j * 128 + h * 32, 32)])
                if i >= j:
                    tile[...] = tile * 2.0
                else:
                    tile[...] = 0.0
                nl.store(out[nl.ds(i * 128, 128), nl.ds(j * 128 + h * 32, 32)], tile)
    return out


def inputs(rng):
    return [rng.standard_normal((384, 256), dtype=np.float32)]


def reference(x):
    block = np.arange(384)[:, None] // 128 >= np.arange(256)[None, :] // 128
    return np.where(block, x * 2, 0).astype(np.float32)
