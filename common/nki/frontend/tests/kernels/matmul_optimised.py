"""Product blocked in all three dimensions, partial sums kept in SBUF between blocks of the contraction."""

import numpy as np

import neuronxcc.nki as nki
import neuronxcc.nki.language as nl


@nki.jit
def nki_kernel(lhs_t, rhs):
    depth, rows = lhs_t.shape
    _, cols = rhs.shape
    tm, tk, tn = 128, 128, 512
    gm, gk, gn = 2, 2, 1
    out = nl.ndarray((rows, cols), dtype=lhs_t.dtype, buffer=nl.shared_hbm)
    for nb in nl.affine_range(cols // (tn * gn)):
        sums = nl.zeros((nl.par_dim(tm), rows // tm, gn, tn), dtype=nl.float32)
        for kb in nl.sequential_range(depth // (tk * gk)):
            right = nl.ndarray((nl.par_dim(tk), gk, gn * tn), dtype=rhs.dtype)
            for k in nl.affine_range(gk):
                right[:, k, :] = nl.load(rhs[nl.ds((kb * gk + k) * tk, tk), nl.ds(nb * gn * tn, gn * tn)])
            for mb in nl.affine_range(rows // (tm * gm)):
                left = nl.ndarray((nl.par_dim(tk), gk, gm * tm), dtype=lhs_t.dtype)
                for k in nl.affine_range(gk):
                    left[:, k, :] = nl.load(
                        lhs_t[nl.ds((kb * gk + k) * tk, tk), nl.ds(mb * gm * tm, gm * tm)]
                    )
                for n in nl.affine_range(gn):
                    for m in nl.affine_range(gm):
                        part = nl.zeros((tm, tn), dtype=nl.float32, buffer=nl.psum)
                        for k in nl.affine_range(gk):
                            part += nl.matmul(
                                left[:, k, nl.ds(m * tm, tm)],
                                right[:, k, nl.ds(n * tn, tn)],
                                transpose_x=True,
                            )
                        sums[:, mb * gm + m, n, :] += part
        for m in nl.affine_range(rows // tm):
            for n in nl.affine_range(gn):
                nl.store(out[nl.ds(m * tm, tm), nl.ds((nb * gn + n) * tn, tn)], sums[:, m, n, :])
    return out


def inputs(rng):
    return [
        rng.standard_normal((512, 512), dtype=np.float32),
        rng.standard_normal((512, 1024), dtype=np.float32),
    ]


def reference(lhs_t, rhs):
    return lhs_t.T @ rhs
