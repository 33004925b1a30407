"""Softmax over rows, tiles of 128 rows, the last one masked."""

import neuronxcc.nki as nki
import neuronxcc.nki.language as nl


@nki.jit
def nki_kernel(x):
    rows, columns = x.shape
    out = nl.ndarray((rows, columns), dtype=x.dtype, buffer=nl.shared_hbm)
    i_p = nl.arange(128)[:, None]
    i_f = nl.arange(columns)[None, :]
    for t in nl.affine_range((rows + 127) // 128):
        tile = nl.load(x[t * 128 + i_p, i_f], mask=(t * 128 + i_p < rows))
        largest = nl.max(tile, axis=[1], keepdims=True, mask=(t * 128 + i_p < rows))
        powers = nl.exp(tile - largest, mask=(t * 128 + i_p < rows))
        total = nl.sum(powers, axis=[1], keepdims=True, mask=(t * 128 + i_p < rows))
        nl.store(out[t * 128 + i_p, i_f], value=powers / total, mask=(t * 128 + i_p < rows))
    return out
