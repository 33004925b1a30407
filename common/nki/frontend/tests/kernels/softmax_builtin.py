"""nl.softmax of a bfloat16 tile."""

import ml_dtypes
import numpy as np

import neuronxcc.nki as nki
import neuronxcc.nki.language as nl

RTOL = 2e-2


@nki.jit
def nki_kernel(x):
    out = nl.ndarray(x.shape, dtype=x.dtype, buffer=nl.shared_hbm)
    nl.store(out, nl.softmax(nl.load(x), axis=1))
    return out


def inputs(rng):
    return [rng.standard_normal((64, 96)).astype(ml_dtypes.bfloat16)]


def reference(x):
    x = x.astype(np.float32)
    e = np.exp(x - x.max(axis=1, keepdims=True))
    return (e / e.sum(axis=1, keepdims=True)).astype(ml_dtypes.bfloat16)
