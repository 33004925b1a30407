"""Scores above the diagonal replaced: the predicate of each tile of rows is affine in its place."""

import neuronxcc.nki as nki
import neuronxcc.nki.isa as nisa
import neuronxcc.nki.language as nl


@nki.jit
def nki_kernel(x):
    out = nl.ndarray((6, 150, 150), dtype=x.dtype, buffer=nl.shared_hbm)
    i_p = nl.arange(75)[:, None]
    i_f = nl.arange(150)[None, :]
    for b in nl.affine_range(6):
        for r in nl.affine_range(2):
            tile = nl.load(x[b, r * 75 + i_p, i_f])
            kept = nisa.affine_select(
                pred=(r * 75 + i_p >= i_f), on_true_tile=tile[i_p, i_f], on_false_value=-9.0, dtype=nl.float32
            )
            nl.store(out[b, r * 75 + i_p, i_f], value=kept)
    return out
