"""What makes index expressions: nl.arange, nl.mgrid, nl.ds."""

from __future__ import annotations

from .errors import NkiError
from .expr import Expr

# Positions along one axis of an index: no tensor has more elements.
_MAX_EXTENT = 2**40


class GridAxes(tuple):
    """The axes of nl.mgrid: a tuple of expressions, also reachable as .p, .x, .y, .z, .w."""

    def __getattr__(self, name: str) -> Expr:
        order = "pxyzw"
        if len(name) == 1 and name in order and order.index(name) < len(self):
            return self[order.index(name)]
        raise AttributeError(f"index grid of {len(self)} axes has no attribute {name!r}")


class _MGrid:
    def __getitem__(self, subscript: object) -> GridAxes:
        items = subscript if isinstance(subscript, tuple) else (subscript,)
        rank = len(items)
        axes = []
        for item in items:
            if not isinstance(item, slice) or item.stop is None:
                raise NkiError(
                    "err_index_shape_mismatch",
                    "nl.mgrid takes slices with a stop, as in nl.mgrid[0:128, 0:n]",
                )
            start = 0 if item.start is None else item.start
            step = 1 if item.step is None else int(item.step)
            axes.append((start, step, span(start, item.stop, step)))
        shape = tuple(size for _, _, size in axes)
        out = []
        for d, (start, step, _) in enumerate(axes):
            coefs = (0,) * d + (step,) + (0,) * (rank - d - 1)
            out.append(Expr(0, (), shape, coefs, True) + start)
        return GridAxes(out)


mgrid = _MGrid()


def span(start: object, stop: object, step: int = 1) -> int:
    """ceil((stop - start) / step), which must be a constant."""
    size = stop - start
    if isinstance(size, Expr):
        if not size.is_constant():
            raise NkiError(
                "err_index_shape_mismatch",
                f"the extent of a slice must be a compile-time constant, not {size!r}",
                hint="use nl.ds(start, size) or a fixed size with mask=",
            )
        size = size.const
    count = max(0, -(-int(size) // step))
    if count > _MAX_EXTENT:
        raise NkiError(
            "err_index_shape_mismatch",
            "an index or a slice has too many positions",
            limit=f"{_MAX_EXTENT} positions",
            actual=count,
        )
    return count


def arange(*args) -> Expr:
    """Half-open integer range as an index vector of shape (n,)."""
    if not 1 <= len(args) <= 3:
        raise TypeError(
            f"arange takes (stop), (start, stop) or (start, stop, step), not {len(args)} arguments"
        )
    start, stop = (0, args[0]) if len(args) == 1 else args[:2]
    step = int(args[2]) if len(args) == 3 else 1
    size = span(start, stop, step)
    if size < 1:
        raise NkiError("err_index_shape_mismatch", f"nl.arange{args} is empty")
    return Expr(0, (), (size,), (step,)) + start


class DynSlice:
    """nl.ds(start, size): a slice given by its start and its extent."""

    __slots__ = ("start", "size")

    def __init__(self, start: object, size: object):
        self.start = start
        self.size = int(size)
