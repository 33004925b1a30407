"""Tiled product that loads a whole row of left tiles and column of right tiles before it multiplies."""

import numpy as np

import neuronxcc.nki as nki
import neuronxcc.nki.language as nl


@nki.jit
def nki_kernel(lhs_t, rhs):
    depth, rows = lhs_t.shape
    _, cols = rhs.shape
    tm, tk, tn = 128, 128, 512
    blocks = depth // tk
    out = nl.ndarray((rows, cols), dtype=lhs_t.dtype, buffer=nl.shared_hbm)
    p = nl.arange(tk)[:, None]
    fm = nl.arange(tm)[None, :]
    fn = nl.arange(tn)[None, :]
    for m in nl.affine_range(rows // tm):
        left = nl.ndarray((nl.par_dim(tk), blocks, tm), dtype=lhs_t.dtype, buffer=nl.sbuf)
        for k in nl.affine_range(blocks):
            left[p, k, fm] = nl.load(lhs_t[k * tk + p, m * tm + fm])
        for n in nl.affine_range(cols // tn):
            right = nl.ndarray((nl.par_dim(tk), blocks, tn), dtype=rhs.dtype, buffer=nl.sbuf)
            for k in nl.affine_range(blocks):
                right[p, k, fn] = nl.load(rhs[k * tk + p, n * tn + fn])
            acc = nl.zeros((nl.par_dim(tm), tn), nl.float32, buffer=nl.psum)
            for k in nl.affine_range(blocks):
                acc[...] += nl.matmul(left[p, k, fm], right[p, k, fn], transpose_x=True)
            result = nl.copy(acc, dtype=out.dtype)
            nl.store(out[m * tm + nl.arange(tm)[:, None], n * tn + fn], value=result)
    return out


def inputs(rng):
    return [
        rng.standard_normal((256, 256), dtype=np.float32),
        rng.standard_normal((256, 1024), dtype=np.float32),
    ]


def reference(lhs_t, rhs):
    return lhs_t.T @ rhs
