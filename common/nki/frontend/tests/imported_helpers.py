"""Functions that a script's kernels call from another module (test_imported.py)."""

import neuronxcc.nki.language as nl


def last_tile(x):
    """Uses a tile after the loop it is made in."""
    for i in range(2):
        tile = nl.load(x[nl.ds(i * 32, 32), :])
    return tile


def first_tile(x):
    """Keeps the rules."""
    return nl.load(x[0:32, :])


class Doubler:
    """A helper that is an object."""

    def __init__(self, factor):
        self.factor = factor

    def __call__(self, x):
        return self.scaled(nl.load(x))

    def scaled(self, tile):
        """Refers to a tile of a branch on a loop index after it."""
        for i in nl.affine_range(4):
            if i == 3:
                late = tile * self.factor
            else:
                late = tile
            tile[...] = nl.copy(late)
        return tile
