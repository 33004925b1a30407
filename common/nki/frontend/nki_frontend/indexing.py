"""Subscripts: from what a kernel writes between brackets to index expressions over a new tile.

Basic indexing takes integers, slices, nl.ds, `...` and None; advanced indexing takes nl.arange / nl.mgrid
expressions and integers, whose broadcast shape is the tile's. The two don't mix. A tile of integers is a
run-time index.
"""

from __future__ import annotations

import numpy as np

from . import context
from .errors import NkiError
from .expr import Expr, Predicate
from .index_ranges import DynSlice, span


class View:
    """Result of a subscript: the new shape, an Expr over it for each old dimension, and what else was
    found.
    """

    __slots__ = ("shape", "parts", "mask", "runtime", "from_grid")

    def __init__(
        self, shape: tuple, parts: list, mask: tuple = (), runtime: object = None, from_grid: bool = False
    ):
        self.shape = shape
        self.parts = parts
        self.mask = mask
        self.runtime = runtime  # (old dimension, index tile) or None
        self.from_grid = from_grid  # a run-time index beside one of nl.mgrid


class RuntimeIndex:
    """The sum of one run-time number and an index expression: a subscript that starts where the number
    says.
    """

    __slots__ = ("tile", "offset")

    def __init__(self, tile: object, offset: Expr):
        self.tile = tile  # an integer tile of one element
        self.offset = offset

    def _moved(self, other: object, sign: int) -> RuntimeIndex:
        if not isinstance(other, Expr) and not _is_int(other):
            return NotImplemented
        return RuntimeIndex(self.tile, self.offset + other * sign)

    def __add__(self, other: object) -> RuntimeIndex:
        return self._moved(other, 1)

    __radd__ = __add__

    def __sub__(self, other: object) -> RuntimeIndex:
        return self._moved(other, -1)


def _is_int(value: object) -> bool:
    return isinstance(value, (int, np.integer)) and not isinstance(value, (bool, np.bool_))


def substitute(e: Expr, parts: list, shape: tuple) -> Expr:
    """`e`, an expression over old dimensions, over the new ones that `parts` gives for each old dimension."""
    rank = len(shape)
    if not e.const and not e.terms:
        used = [d for d, k in enumerate(e.coefs) if k]
        if len(used) == 1 and e.coefs[used[0]] == 1 and parts[used[0]].shape == shape:
            return parts[used[0]]  # an axis walked as it is
    out = Expr(e.const, e.terms, shape, (0,) * rank)
    for k, part in zip(e.coefs, parts, strict=False):
        if k:
            out = out + part * k
    if out.shape != shape or len(out.coefs) != rank:
        coefs = out.coefs
        out = Expr(out.const, out.terms, shape, (0,) * (rank - len(coefs)) + coefs)
    return out


def _describe(tensor: object) -> str:
    return f"tensor '{tensor.buffer.name}' of shape {tensor.shape}"


def parse(tensor: object, subscript: object) -> View:
    """The view of `tensor` that `subscript` selects."""
    from .tile import Tensor

    items = subscript if isinstance(subscript, tuple) else (subscript,)
    if any(isinstance(i, Predicate) for i in items):
        return _masked(tensor, items)
    advanced = any((isinstance(i, Expr) and i.shape) or isinstance(i, (Tensor, RuntimeIndex)) for i in items)
    if advanced:
        return _advanced(tensor, items, Tensor)
    return _basic(tensor, items)


def _masked(tensor: object, items: tuple) -> View:
    """`t[i_f <= 64]`: the whole tile under a condition."""
    if not all(isinstance(i, Predicate) for i in items):
        raise NkiError(
            "err_unsupported_mixing_basic_advanced_tensor_indexing",
            f"a comparison and other indices in one subscript of {_describe(tensor)}",
        )
    view = _basic(tensor, (Ellipsis,))
    mask: tuple = ()
    for item in items:
        mask += mask_constraints(item, tensor.shape)
    return View(view.shape, view.parts, mask)


def _expand_ellipsis(tensor: object, items: tuple) -> list:
    named = sum(1 for i in items if i is not None and i is not Ellipsis)
    rank = len(tensor.shape)
    if sum(1 for i in items if i is Ellipsis) > 1:
        raise IndexError("a subscript can have only one '...'")
    if named > rank:
        raise NkiError(
            "err_tensor_access_rank_mismatch",
            f"{named} indices for {_describe(tensor)}",
            limit=f"{rank} indices",
            actual=named,
        )
    out: list = []
    seen = False
    for item in items:
        if item is Ellipsis:
            seen = True
            out.extend([slice(None)] * (rank - named))
        else:
            out.append(item)
    if not seen:
        out.extend([slice(None)] * (rank - named))
    return out


def _static_bound(tensor: object, axis: int, value: int, size: int) -> None:
    if not -size <= value < size:
        raise NkiError(
            "err_tensor_access_out_of_bound",
            f"index {value} on axis {axis} of {_describe(tensor)} is out of range",
            limit=f"axis {axis} has size {size}",
            actual=value,
            hint="fix the index, or mask the access if it belongs to a partial tile",
        )


def _basic(tensor: object, items: tuple) -> View:
    expanded = _expand_ellipsis(tensor, items)
    shape: list[int] = []
    plan: list = []  # for each old dimension: (new dimension or None, start, step)
    axis = 0
    for item in expanded:
        if item is None:
            shape.append(1)
            continue
        size = tensor.shape[axis]
        if isinstance(item, slice):
            step = 1 if item.step is None else int(item.step)
            if step < 1:
                raise NkiError(
                    "err_slice_step_not_supported",
                    f"slice step {step} on axis {axis} of {_describe(tensor)}",
                    limit="step >= 1",
                    actual=step,
                )
            start = 0 if item.start is None else item.start
            stop = size if item.stop is None else item.stop
            if _is_int(start) and start < 0:
                start = int(start) + size
            if _is_int(stop) and stop < 0:
                stop = int(stop) + size
            count = span(start, stop, step)
            if count < 1:
                raise NkiError(
                    "err_tensor_access_out_of_bound",
                    f"slice {item.start}:{item.stop} on axis {axis} of {_describe(tensor)} selects nothing",
                )
            plan.append((len(shape), start, step))
            shape.append(count)
        elif isinstance(item, DynSlice):
            plan.append((len(shape), item.start, 1))
            shape.append(item.size)
        elif _is_int(item):
            _static_bound(tensor, axis, int(item), size)
            plan.append((None, int(item) % size, 1))
        elif isinstance(item, Expr):
            plan.append((None, item, 1))
        else:
            raise NkiError(
                "err_index_type",
                f"{type(item).__name__} can't index {_describe(tensor)}",
                limit="integers, slices, nl.ds, nl.arange or nl.mgrid expressions, loop indices",
                actual=type(item).__name__,
            )
        axis += 1
    full = tuple(shape)
    rank = len(full)
    parts = []
    for new, start, step in plan:
        coefs = [0] * rank
        if new is not None and full[new] > 1:
            coefs[new] = step
        if isinstance(start, Expr):
            parts.append(Expr(start.const, start.terms, full, tuple(coefs)))
        else:
            parts.append(Expr(int(start), (), full, tuple(coefs)))
    return View(full, parts)


def _advanced(tensor: object, items: tuple, tensor_type: object) -> View:
    if any(
        isinstance(i, slice) and i != slice(None, None, None) or isinstance(i, DynSlice) for i in items
    ) or any(isinstance(i, slice) or i is Ellipsis or i is None for i in items):
        raise NkiError(
            "err_unsupported_mixing_basic_advanced_tensor_indexing",
            f"slices and nl.arange indices in one subscript of {_describe(tensor)}",
            hint="use only slices (nl.ds for a moving start), or only nl.arange / nl.mgrid expressions",
        )
    if len(items) != len(tensor.shape):
        raise NkiError(
            "err_tensor_access_rank_mismatch",
            f"{len(items)} indices for {_describe(tensor)}",
            limit=f"{len(tensor.shape)} indices",
            actual=len(items),
            hint="advanced indexing needs one index for each axis",
        )
    on_chip = not context.is_hbm(tensor.buffer.buffer)
    shapes: list[tuple] = []
    for axis, item in enumerate(items):
        if isinstance(item, Expr):
            if len(item.shape) == 1 and on_chip:
                raise NkiError(
                    "err_1d_arange_not_supported",
                    f"rank-1 nl.arange as index {axis} of {_describe(tensor)}",
                    hint="give it a second axis, as in nl.arange(n)[:, None], or use a slice",
                )
            shapes.append(item.shape)
        elif isinstance(item, tensor_type):
            shapes.append(_runtime_shape(tensor, axis, item))
        elif isinstance(item, RuntimeIndex):
            _runtime_shape(tensor, axis, item.tile)
            shapes.append(item.offset.shape)
        elif _is_int(item):
            _static_bound(tensor, axis, int(item), tensor.shape[axis])
        else:
            raise NkiError(
                "err_index_type",
                f"{type(item).__name__} can't index {_describe(tensor)}",
                actual=type(item).__name__,
            )
    try:
        full = np.broadcast_shapes(*shapes)
    except ValueError:
        raise NkiError(
            "err_index_shape_mismatch",
            f"indices of shapes {', '.join(map(str, shapes))} of {_describe(tensor)} can't be broadcast",
            hint="give each index its own axis: [:, None] for the partition index, [None, :] for a free one",
        ) from None
    rank = len(full)
    parts: list = []
    runtime = None
    for axis, item in enumerate(items):
        if isinstance(item, (tensor_type, RuntimeIndex)):
            if runtime is not None:
                raise NkiError(
                    "err_indirect_indices_free_dim",
                    f"two run-time indices in one subscript of {_describe(tensor)}",
                    limit="1",
                    actual="2",
                )
            if isinstance(item, RuntimeIndex):
                runtime = (axis, item.tile)
                parts.append(_over(item.offset, full))
            else:
                runtime = (axis, item)
                parts.append(Expr(0, (), full, (0,) * rank))
        elif isinstance(item, Expr):
            parts.append(_over(item, full))
        else:
            parts.append(Expr(int(item) % tensor.shape[axis], (), full, (0,) * rank))
    indices = [i.offset if isinstance(i, RuntimeIndex) else i for i in items]
    from_grid = any(isinstance(i, Expr) and i.grid for i in indices)
    return View(full, parts, (), runtime, runtime is not None and from_grid)


def _over(e: Expr, full: tuple) -> Expr:
    """An index broadcast to the shape of all indices."""
    rank = len(full)
    coefs = (0,) * (rank - len(e.coefs)) + e.coefs
    sizes = (1,) * (rank - len(e.shape)) + e.shape
    return Expr(e.const, e.terms, full, tuple(k if n > 1 else 0 for k, n in zip(coefs, sizes, strict=False)))


def _runtime_shape(tensor: object, axis: int, index: object) -> tuple:
    from . import dtypes

    if index.buffer.buffer != context.SBUF:
        raise NkiError(
            "err_unsupported_memory",
            f"run-time index '{index.buffer.name}' of {_describe(tensor)} must be in sbuf",
            limit="sbuf",
            actual=context.BUFFER_NAME[index.buffer.buffer],
            hint="load the indices with nl.load",
        )
    if not dtypes.is_integer(index.dtype):
        raise NkiError(
            "err_index_type",
            f"run-time index '{index.buffer.name}' has dtype {index.dtype}",
            limit="an integer dtype",
            actual=index.dtype,
        )
    shape = index.shape
    if len(shape) < 2:
        shape = shape + (1,) * (2 - len(shape))
    if any(n > 1 for n in shape[1:]):
        raise NkiError(
            "err_indirect_indices_free_dim",
            f"run-time index '{index.buffer.name}' of shape {index.shape} on axis {axis} of "
            f"{_describe(tensor)} runs over a free axis",
            limit="one index for each partition, shape (P, 1)",
            actual=index.shape,
            hint="put the run-time index on the partition or block axis, with shape (P, 1)",
        )
    return shape


def mask_constraints(mask: object, shape: tuple) -> tuple:
    """The conditions of a mask as expressions over a tile of `shape` that must be >= 0."""
    if mask is None or mask is True:
        return ()
    if isinstance(mask, (bool, np.bool_)):
        return () if mask else (Expr(-1, (), shape, (0,) * len(shape)),)
    if not isinstance(mask, Predicate):
        raise NkiError(
            "err_unsupported_expression_in_mask",
            f"mask must be a comparison of index expressions, not {type(mask).__name__}",
            hint="compare sums of loop indices and nl.arange values, joined by &; tiles of data can't be "
            "masks, use nl.where or nisa.tensor_copy_predicated",
        )
    if mask.constraints is None:
        raise NkiError(
            "err_unsupported_expression_in_mask",
            "a mask can't hold '!=' or '|'",
            hint="join comparisons with &",
        )
    out = []
    for c in mask.constraints:
        low, high = c.range()
        if low >= 0:
            continue  # always true
        out.append(fit(c, shape, "mask"))
        if high < 0:
            return (Expr(-1, (), shape, (0,) * len(shape)),)
    return tuple(out)


def fit(e: Expr, shape: tuple, what: str) -> Expr:
    """`e` over the dimensions of a tile: its first axis is the tile's first, the others are aligned at the
    end.
    """
    old = e.shape
    rank = len(shape)
    if len(old) > rank:
        if all(n == 1 for n in old[rank:]):
            old, coefs = old[:rank], e.coefs[:rank]
        elif all(n == 1 for n in old[: len(old) - rank]):
            coefs = e.coefs[len(old) - rank :]
            old = old[len(old) - rank :]
        else:
            raise _no_fit(e, shape, what)
        e = Expr(e.const, e.terms, old, coefs)
    out = [0] * rank
    for d, (n, k) in enumerate(zip(old, e.coefs, strict=False)):
        new = d + rank - len(old) if d or len(old) == 1 and rank == 1 else 0
        if n == 1 or k == 0:
            continue
        if shape[new] != n:
            raise _no_fit(e, shape, what)
        out[new] = k
    return Expr(e.const, e.terms, shape, tuple(out))


def _no_fit(e: Expr, shape: tuple, what: str) -> NkiError:
    return NkiError(
        "err_mask_shape_mismatch",
        f"{what} of shape {e.shape} does not fit a tile of shape {shape}",
        limit=shape,
        actual=e.shape,
        hint="build the mask from the indices that select the tile",
    )
