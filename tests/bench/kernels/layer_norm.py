"""Layer norm over the last axis with weight and bias, in the functions of nki.language."""

import neuronxcc.nki as nki
import neuronxcc.nki.language as nl


@nki.jit
def nki_kernel(x, weight, bias):
    rows, columns = x.shape
    out = nl.ndarray(x.shape, dtype=x.dtype, buffer=nl.shared_hbm)
    p = nl.arange(128)[:, None]
    f = nl.arange(columns)[None, :]
    one = nl.arange(1)[:, None]
    w = nl.load(weight.reshape((1, columns))[one, f])
    b = nl.load(bias.reshape((1, columns))[one, f])
    for i in nl.affine_range((rows + 127) // 128):
        inside = i * 128 + p < rows
        tile = nl.load(x[i * 128 + p, f], mask=inside)
        mean = nl.sum(tile, axis=[1], mask=inside) / columns
        centred = nl.subtract(tile, mean, mask=inside)
        variance = nl.sum(nl.square(centred, mask=inside), axis=[1], mask=inside) / columns
        normed = nl.multiply(centred, nl.rsqrt(variance + 1e-5), mask=inside)
        scaled = nl.multiply(normed, w.broadcast_to((128, columns)), mask=inside)
        nl.store(
            out[i * 128 + p, f], nl.add(scaled, b.broadcast_to((128, columns)), mask=inside), mask=inside
        )
    return out
