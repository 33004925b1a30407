"""RMS norm over the last axis with a weight."""

import neuronxcc.nki as nki
import neuronxcc.nki.language as nl


@nki.jit
def nki_kernel(x, weight):
    rows, columns = x.shape
    out = nl.ndarray(x.shape, dtype=x.dtype, buffer=nl.shared_hbm)
    p = nl.arange(128)[:, None]
    f = nl.arange(columns)[None, :]
    w = nl.load(weight.reshape((1, columns))[nl.arange(1)[:, None], f])
    for i in nl.affine_range((rows + 127) // 128):
        inside = i * 128 + p < rows
        tile = nl.load(x[i * 128 + p, f], mask=inside)
        mean = nl.sum(nl.square(tile, mask=inside), axis=[1], mask=inside) / columns
        normed = nl.multiply(tile, nl.rsqrt(mean + 1e-5), mask=inside)
        nl.store(
            out[i * 128 + p, f], nl.multiply(normed, w.broadcast_to((128, columns)), mask=inside), mask=inside
        )
    return out
