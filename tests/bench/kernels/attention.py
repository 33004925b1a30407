"""Attention of one head, softmax(q.T k / sqrt(d)) v.T, for q, k and v of shape [d, length]: one block of
queries at a time, its scores never leave the core.
"""

import neuronxcc.nki as nki
import neuronxcc.nki.isa as nisa
import neuronxcc.nki.language as nl


@nki.jit
def nki_kernel(q, k, v):
    dim, length = q.shape
    block, wide = nl.tile_size.pmax, nl.tile_size.gemm_moving_fmax
    scale = dim**-0.5
    out = nl.ndarray((length, dim), dtype=q.dtype, buffer=nl.shared_hbm)
    queries, keys, values = nl.load(q), nl.load(k), nl.load(v)
    turned = nl.ndarray((nl.par_dim(block), length // block, dim), dtype=v.dtype, buffer=nl.sbuf)
    for j in nl.affine_range(length // block):
        turned[:, j, :] = nisa.tensor_copy(nisa.nc_transpose(values[:, nl.ds(j * block, block)]))
    for i in nl.affine_range(length // block):
        scores = nl.ndarray((nl.par_dim(block), length), dtype=nl.float32, buffer=nl.sbuf)
        tops = nl.ndarray((nl.par_dim(block), length // wide), dtype=nl.float32, buffer=nl.sbuf)
        for j in nl.affine_range(length // wide):
            product = nisa.nc_matmul(queries[:, nl.ds(i * block, block)], keys[:, nl.ds(j * wide, wide)])
            scores[:, nl.ds(j * wide, wide)] = nisa.tensor_copy(product)
            tops[:, j] = nisa.tensor_reduce(nl.max, product, axis=1)
        top = nisa.tensor_scalar(nisa.tensor_reduce(nl.max, tops, axis=1), nl.multiply, -scale)
        totals = nl.ndarray((nl.par_dim(block), length // wide), dtype=nl.float32, buffer=nl.sbuf)
        weights = nl.ndarray((nl.par_dim(block), length), dtype=nl.float32, buffer=nl.sbuf)
        for j in nl.affine_range(length // wide):
            part = nl.ds(j * wide, wide)
            weights[:, part] = nisa.activation(nl.exp, scores[:, part], bias=top, scale=scale)
            totals[:, j] = nisa.tensor_reduce(nl.add, weights[:, part], axis=1)
        inverse = nisa.reciprocal(nisa.tensor_reduce(nl.add, totals, axis=1))
        acc = nl.zeros((block, dim), dtype=nl.float32, buffer=nl.psum)
        for j in nl.affine_range(length // block):
            across = nisa.tensor_copy(nisa.nc_transpose(weights[:, nl.ds(j * block, block)]))
            acc += nisa.nc_matmul(across, turned[:, j, :])
        nl.store(
            out[nl.ds(i * block, block), :], nisa.tensor_scalar(acc, nl.multiply, inverse, dtype=out.dtype)
        )
    return out
