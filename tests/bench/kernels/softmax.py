"""Softmax of each row, 128 rows at a time."""

import neuronxcc.nki as nki
import neuronxcc.nki.language as nl


@nki.jit
def nki_kernel(x):
    rows, columns = x.shape
    out = nl.ndarray(x.shape, dtype=x.dtype, buffer=nl.shared_hbm)
    p = nl.arange(128)[:, None]
    f = nl.arange(columns)[None, :]
    for i in nl.affine_range((rows + 127) // 128):
        inside = i * 128 + p < rows
        tile = nl.load(x[i * 128 + p, f], mask=inside)
        e = nl.exp(nl.subtract(tile, nl.max(tile, axis=[1], mask=inside), mask=inside), mask=inside)
        total = nl.sum(e, axis=[1], mask=inside)
        nl.store(out[i * 128 + p, f], nl.divide(e, total, mask=inside), mask=inside)
    return out
