"""Sum over the middle axis: rows of each sample added one after the other."""

import neuronxcc.nki as nki
import neuronxcc.nki.language as nl


@nki.jit
def nki_kernel(x):
    out = nl.ndarray((8, 1, 130), dtype=x.dtype, buffer=nl.shared_hbm)
    i_b = nl.arange(8)[:, None]
    i_f = nl.arange(130)[None, :]
    total = nl.zeros((8, 130), dtype=nl.float32)
    for row in nl.sequential_range(190):
        tile = nl.load(x[i_b, row, i_f])
        total[...] = nl.add(total, tile)
    nl.store(out[i_b, 0, i_f], value=total)
    return out
