"""Product whose row and column tiles are grouped in blocks of two, each loaded once for the block."""

import numpy as np

import neuronxcc.nki as nki
import neuronxcc.nki.language as nl


@nki.jit
def nki_kernel(lhs_t, rhs):
    depth, rows = lhs_t.shape
    _, cols = rhs.shape
    tm, tk, tn, group = 128, 128, 512, 2
    out = nl.ndarray((rows, cols), dtype=lhs_t.dtype, buffer=nl.shared_hbm)
    i_l = nl.mgrid[0:tk, 0:tm]
    i_r = nl.mgrid[0:tk, 0:tn]
    i_o = nl.mgrid[0:tm, 0:tn]
    for mb in nl.affine_range(rows // (tm * group)):
        left = nl.ndarray((group, depth // tk, nl.par_dim(tk), tm), dtype=lhs_t.dtype)
        for m in nl.affine_range(group):
            for k in nl.affine_range(depth // tk):
                left[m, k, i_l.p, i_l.x] = nl.load(lhs_t[k * tk + i_l.p, (mb * group + m) * tm + i_l.x])
        for nb in nl.affine_range(cols // (tn * group)):
            right = nl.ndarray((group, depth // tk, nl.par_dim(tk), tn), dtype=rhs.dtype)
            for n in nl.affine_range(group):
                for k in nl.affine_range(depth // tk):
                    right[n, k, i_r.p, i_r.x] = nl.load(rhs[k * tk + i_r.p, (nb * group + n) * tn + i_r.x])
            for m in nl.affine_range(group):
                for n in nl.affine_range(group):
                    acc = nl.zeros((tm, tn), dtype=nl.float32, buffer=nl.psum)
                    for k in nl.affine_range(depth // tk):
                        acc[i_o.p, i_o.x] += nl.matmul(
                            left[m, k, i_l.p, i_l.x], right[n, k, i_r.p, i_r.x], transpose_x=True
                        )
                    done = nl.copy(acc[i_o.p, i_o.x], dtype=out.dtype)
                    nl.store(out[(mb * group + m) * tm + i_o.p, (nb * group + n) * tn + i_o.x], value=done)
    return out


def inputs(rng):
    return [
        rng.standard_normal((256, 512), dtype=np.float32),
        rng.standard_normal((256, 1024), dtype=np.float32),
    ]


def reference(lhs_t, rhs):
    return lhs_t.T @ rhs
