"""nl.rms_norm with a weight row that is broadcast over partitions."""

import numpy as np

import neuronxcc.nki as nki
import neuronxcc.nki.language as nl


@nki.jit
def nki_kernel(x, weight):
    rows, cols = x.shape
    out = nl.ndarray(x.shape, dtype=x.dtype, buffer=nl.shared_hbm)
    w = nl.load(weight.reshape((1, cols)))
    nl.store(out, nl.rms_norm(nl.load(x), w, axis=1, n=cols, epsilon=1e-5))
    return out


def inputs(rng):
    return [rng.standard_normal((128, 256), dtype=np.float32), rng.standard_normal(256, dtype=np.float32)]


def reference(x, weight):
    return x / np.sqrt((x * x).mean(axis=1, keepdims=True) + 1e-5) * weight
