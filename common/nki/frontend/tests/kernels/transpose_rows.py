"""Every row holds a flattened 6 x 10 matrix; each is transposed by walking the free axis in another order."""

import numpy as np

import neuronxcc.nki as nki
import neuronxcc.nki.language as nl

HEIGHT, WIDTH = 6, 10


@nki.jit
def nki_kernel(x):
    rows, _ = x.shape
    out = nl.ndarray(x.shape, dtype=x.dtype, buffer=nl.shared_hbm)
    tile = nl.load(x)
    turned = nl.ndarray(x.shape, dtype=x.dtype)
    p = nl.arange(rows)[:, None, None]
    h = nl.arange(HEIGHT)[None, :, None]
    w = nl.arange(WIDTH)[None, None, :]
    turned[p, w * HEIGHT + h] = nl.copy(tile[p, h * WIDTH + w])
    nl.store(out, turned)
    return out


def inputs(rng):
    return [rng.integers(-100, 100, (40, HEIGHT * WIDTH)).astype(np.int8)]


def reference(x):
    return x.reshape(-1, HEIGHT, WIDTH).transpose(0, 2, 1).reshape(x.shape).copy()
