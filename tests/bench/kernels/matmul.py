"""lhs_t.T @ rhs with blocks of both operands kept in SBUF: the contraction runs whole inside PSUM."""

import neuronxcc.nki as nki
import neuronxcc.nki.isa as nisa
import neuronxcc.nki.language as nl


@nki.jit
def nki_kernel(lhs_t, rhs):
    depth, rows = lhs_t.shape
    _, columns = rhs.shape
    tile_k, tile_m, tile_n = (
        nl.tile_size.pmax,
        nl.tile_size.gemm_stationary_fmax,
        nl.tile_size.gemm_moving_fmax,
    )
    steps = depth // tile_k
    out = nl.ndarray((rows, columns), dtype=lhs_t.dtype, buffer=nl.shared_hbm)
    for m in nl.affine_range(rows // tile_m):
        left = nl.ndarray((steps, nl.par_dim(tile_k), tile_m), dtype=lhs_t.dtype, buffer=nl.sbuf)
        for k in nl.affine_range(steps):
            left[k] = nl.load(lhs_t[nl.ds(k * tile_k, tile_k), nl.ds(m * tile_m, tile_m)])
        for n in nl.affine_range(columns // tile_n):
            right = nl.ndarray((steps, nl.par_dim(tile_k), tile_n), dtype=rhs.dtype, buffer=nl.sbuf)
            for k in nl.affine_range(steps):
                right[k] = nl.load(rhs[nl.ds(k * tile_k, tile_k), nl.ds(n * tile_n, tile_n)])
            total = nl.zeros((tile_m, tile_n), dtype=nl.float32, buffer=nl.psum)
            for k in nl.affine_range(steps):
                total += nisa.nc_matmul(left[k], right[k])
            nl.store(
                out[nl.ds(m * tile_m, tile_m), nl.ds(n * tile_n, tile_n)],
                nisa.tensor_copy(total, dtype=out.dtype),
            )
    return out
