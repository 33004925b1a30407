"""Rotary embedding: the two halves of the head dimension are turned against each other."""

import numpy as np

import neuronxcc.nki as nki
import neuronxcc.nki.language as nl


@nki.jit
def nki_kernel(q, cos, sin):
    heads, seq, dim = q.shape
    half = dim // 2
    out = nl.ndarray(q.shape, dtype=q.dtype, buffer=nl.shared_hbm)
    for s in nl.affine_range(seq // 128):
        rows = nl.ds(s * 128, 128)
        c = nl.load(cos[rows, :])
        w = nl.load(sin[rows, :])
        for h in nl.affine_range(heads):
            x = nl.load(q[h, rows, :])
            turned = nl.ndarray((128, dim), dtype=q.dtype)
            turned[:, 0:half] = nl.negative(x[:, half:dim])
            turned[:, half:dim] = x[:, 0:half]
            nl.store(out[h, rows, :], x * c + turned * w)
    return out


def inputs(rng):
    angle = np.outer(np.arange(256), 10000.0 ** (-np.arange(32) / 32)).astype(np.float32)
    angle = np.concatenate([angle, angle], axis=1)
    return [rng.standard_normal((4, 256, 64), dtype=np.float32), np.cos(angle), np.sin(angle)]


def reference(q, cos, sin):
    half = q.shape[-1] // 2
    turned = np.concatenate([-q[..., half:], q[..., :half]], axis=-1)
    return q * cos + turned * sin
