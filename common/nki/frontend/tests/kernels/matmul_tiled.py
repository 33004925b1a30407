"""Product of any multiple of the tile sizes; the left operand comes transposed."""

import numpy as np

import neuronxcc.nki as nki
import neuronxcc.nki.isa as nisa
import neuronxcc.nki.language as nl


@nki.jit
def nki_kernel(lhs_t, rhs):
    depth, rows = lhs_t.shape
    _, cols = rhs.shape
    tm, tk, tn = nl.tile_size.gemm_stationary_fmax, nl.tile_size.pmax, nl.tile_size.gemm_moving_fmax
    out = nl.ndarray((rows, cols), dtype=lhs_t.dtype, buffer=nl.shared_hbm)
    for m in nl.affine_range(rows // tm):
        for n in nl.affine_range(cols // tn):
            acc = nl.zeros((tm, tn), dtype=nl.float32, buffer=nl.psum)
            for k in nl.affine_range(depth // tk):
                left = nl.load(lhs_t[nl.ds(k * tk, tk), nl.ds(m * tm, tm)])
                right = nl.load(rhs[nl.ds(k * tk, tk), nl.ds(n * tn, tn)])
                acc += nisa.nc_matmul(left, right)
            nl.store(out[nl.ds(m * tm, tm), nl.ds(n * tn, tn)], nl.copy(acc, dtype=out.dtype))
    return out


def inputs(rng):
    return [
        rng.standard_normal((256, 256), dtype=np.float32),
        rng.standard_normal((256, 1024), dtype=np.float32),
    ]


def reference(lhs_t, rhs):
    return lhs_t.T @ rhs
