"""Log-sum-exp over rows in tiles of 125 columns with a running maximum and sum."""

import neuronxcc.nki as nki
import neuronxcc.nki.language as nl


@nki.jit
def nki_kernel(x):
    out = nl.ndarray((600,), dtype=x.dtype, buffer=nl.shared_hbm)
    i_p = nl.arange(120)[:, None]
    i_f = nl.arange(125)[None, :]
    i_one = nl.arange(1)[None, :]
    column = out.reshape((600, 1))
    for t in nl.affine_range(5):
        largest = nl.full((120, 1), -3.0e38, dtype=nl.float32)
        total = nl.zeros((120, 1), dtype=nl.float32)
        for c in nl.sequential_range(4):
            tile = nl.load(x[t * 120 + i_p, c * 125 + i_f])
            here = nl.max(tile, axis=[1], keepdims=True)
            new = nl.maximum(largest, here)
            kept = nl.multiply(total, nl.exp(nl.subtract(largest, new)))
            added = nl.sum(nl.exp(nl.subtract(tile, new)), axis=[1], keepdims=True)
            total[...] = nl.add(kept, added)
            largest[...] = nl.copy(new)
        nl.store(column[t * 120 + i_p, i_one], value=nl.add(nl.log(total), largest))
    return out
