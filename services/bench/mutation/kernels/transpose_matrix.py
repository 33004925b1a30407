"""Transposition in blocks of 128 x 128 on the tensor engine, edges masked."""

import neuronxcc.nki as nki
import neuronxcc.nki.isa as nisa
import neuronxcc.nki.language as nl


@nki.jit
def nki_kernel(x):
    rows, columns = x.shape
    out = nl.ndarray((columns, rows), dtype=x.dtype, buffer=nl.shared_hbm)
    i_p = nl.arange(128)[:, None]
    i_f = nl.arange(128)[None, :]
    for r in nl.affine_range((rows + 127) // 128):
        for c in nl.affine_range((columns + 127) // 128):
            tile = nl.zeros((128, 128), dtype=x.dtype, buffer=nl.sbuf)
            tile[i_p, i_f] = nl.load(
                x[r * 128 + i_p, c * 128 + i_f],
                mask=((r * 128 + i_p < rows) & (c * 128 + i_f < columns)),
            )
            turned = nl.copy(nisa.nc_transpose(tile))
            nl.store(
                out[c * 128 + i_p, r * 128 + i_f],
                value=turned,
                mask=((c * 128 + i_p < columns) & (r * 128 + i_f < rows)),
            )
    return out
