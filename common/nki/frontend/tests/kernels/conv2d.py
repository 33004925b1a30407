"""Convolution as a sum of matmuls over the window: weights are turned on load, the image is indexed with shifts."""

import numpy as np

import neuronxcc.nki as nki
import neuronxcc.nki.isa as nisa
import neuronxcc.nki.language as nl


@nki.jit
def nki_kernel(image, weight):
    batch, channels, height, width = image.shape
    filters, _, size, _ = weight.shape
    rows, cols = height - size + 1, width - size + 1
    out = nl.ndarray((batch, filters, rows, cols), dtype=image.dtype, buffer=nl.shared_hbm)
    taps = nl.ndarray((nl.par_dim(channels), size * size, filters), dtype=weight.dtype)
    for a in nl.static_range(size):
        for b in nl.static_range(size):
            taps[:, a * size + b, :] = nl.load_transpose2d(weight[:, :, a, b])
    for n in nl.affine_range(batch):
        tile = nl.load(image[n])
        acc = nl.zeros((filters, rows, cols), dtype=nl.float32, buffer=nl.psum)
        for a in nl.affine_range(size):
            for b in nl.affine_range(size):
                c, y, x = nl.mgrid[0:channels, 0:rows, 0:cols]
                acc += nisa.nc_matmul(taps[:, a * size + b, :], tile[c, y + a, x + b])
        nl.store(out[n], nl.copy(acc))
    return out


def inputs(rng):
    return [
        rng.standard_normal((2, 32, 12, 12), dtype=np.float32),
        rng.standard_normal((48, 32, 3, 3), dtype=np.float32) * 0.1,
    ]


def reference(image, weight):
    windows = np.lib.stride_tricks.sliding_window_view(image, weight.shape[2:], axis=(2, 3))
    return np.einsum("nchwab,ocab->nohw", windows, weight)
