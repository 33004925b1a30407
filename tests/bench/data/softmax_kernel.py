"""Row softmax over a ragged number of rows: the 50-line kernel of the compile and verify figures."""

import neuronxcc.nki as nki
import neuronxcc.nki.isa as nisa
import neuronxcc.nki.language as nl
import numpy as np


def row_max_negated(tile, mask):
    """-max along the free axis, one value per partition, shape [P, 1]."""
    return nisa.tensor_reduce(np.max, tile, axis=[1], negate=True, mask=mask, dtype=nl.float32)


def exponentials(tile, bias, mask):
    """exp(tile + bias) on the Scalar engine, bias one value per partition."""
    return nisa.activation(nl.exp, tile, bias=bias, scale=1.0, mask=mask, dtype=nl.float32)


def normalised(tile, total, mask):
    """tile / total, total one value per partition."""
    inverse = nisa.reciprocal(total, mask=mask)
    return nl.multiply(tile, inverse, mask=mask)


@nki.jit
def nki_kernel(x):
    """y[r, :] = softmax(x[r, :]) for x of shape [rows, columns]."""
    rows, columns = x.shape
    y = nl.ndarray((rows, columns), dtype=x.dtype, buffer=nl.shared_hbm)
    partitions = nl.tile_size.pmax
    tiles = (rows + partitions - 1) // partitions

    i_p = nl.arange(partitions)[:, None]
    i_f = nl.arange(columns)[None, :]

    for t in nl.affine_range(tiles):
        row = t * partitions + i_p
        mask = row < rows

        # Whole rows fit one SBUF tile.
        x_tile = nl.load(x[row, i_f], mask=mask)

        bias = row_max_negated(x_tile, mask)
        numerator = exponentials(x_tile, bias, mask)
        total = nl.sum(numerator, axis=[1], mask=mask)

        y_tile = normalised(numerator, total, mask)
        nl.store(y[row, i_f], value=y_tile, mask=mask)

    return y
