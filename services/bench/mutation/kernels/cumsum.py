"""Running sums along rows: a scan for each tile of 140 columns, carried on from tile to tile."""

import neuronxcc.nki as nki
import neuronxcc.nki.isa as nisa
import neuronxcc.nki.language as nl


@nki.jit
def nki_kernel(x):
    out = nl.ndarray((260, 700), dtype=x.dtype, buffer=nl.shared_hbm)
    i_p = nl.arange(65)[:, None]
    i_f = nl.arange(140)[None, :]
    i_last = nl.arange(1)[None, :]
    for t in nl.affine_range(4):
        ones = nl.full((65, 140), 1.0, dtype=nl.float32)
        carried = nl.zeros((65, 1), dtype=nl.float32)
        for c in nl.sequential_range(5):
            tile = nl.load(x[t * 65 + i_p, c * 140 + i_f])
            sums = nisa.tensor_tensor_scan(
                ones, tile, initial=carried, op0=nl.multiply, op1=nl.add, dtype=nl.float32
            )
            carried[...] = nl.copy(sums[i_p, 139 + i_last])
            nl.store(out[t * 65 + i_p, c * 140 + i_f], value=sums)
    return out
