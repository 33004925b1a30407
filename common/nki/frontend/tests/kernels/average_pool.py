"""Average pooling with square windows: the tile is indexed as five axes and two of them are reduced."""

import numpy as np

import neuronxcc.nki as nki
import neuronxcc.nki.language as nl

POOL = 3


@nki.jit
def nki_kernel(image):
    channels, height, width = image.shape
    out = nl.ndarray((channels, height // POOL, width // POOL), dtype=image.dtype, buffer=nl.shared_hbm)
    tile = nl.load(image)
    c, y, dy, x, dx = nl.mgrid[0:channels, 0 : height // POOL, 0:POOL, 0 : width // POOL, 0:POOL]
    windows = tile[c, y * POOL + dy, x * POOL + dx]
    pooled = nl.sum(windows, axis=[2, 4]) * (1.0 / POOL**2)
    nl.store(out, pooled)
    return out


def inputs(rng):
    return [rng.standard_normal((64, 12, 15), dtype=np.float32)]


def reference(image):
    c, h, w = image.shape
    return image.reshape(c, h // POOL, POOL, w // POOL, POOL).mean(axis=(2, 4))
