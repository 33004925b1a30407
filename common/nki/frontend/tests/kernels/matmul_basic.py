"""One 128 x 128 by 128 x 512 product."""

import numpy as np

import neuronxcc.nki as nki
import neuronxcc.nki.language as nl


@nki.jit
def nki_kernel(lhs, rhs):
    out = nl.ndarray((lhs.shape[0], rhs.shape[1]), dtype=lhs.dtype, buffer=nl.shared_hbm)
    product = nl.matmul(nl.load(lhs), nl.load(rhs))
    nl.store(out, nl.copy(product, dtype=out.dtype))
    return out


def inputs(rng):
    return [
        rng.standard_normal((128, 128), dtype=np.float32),
        rng.standard_normal((128, 512), dtype=np.float32),
    ]


def reference(lhs, rhs):
    return lhs @ rhs
