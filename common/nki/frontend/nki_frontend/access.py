"""Operands of instructions: broadcasting one tile's access to another shape, and masks on them."""

from __future__ import annotations

import numpy as np

from .context import Access
from .errors import NkiError
from .expr import Expr
from .indexing import mask_constraints
from .tile import Tensor, on_chip


def remap(e: Expr, mapping: list, sizes: tuple, shape: tuple) -> Expr:
    """`e` over new dimensions: old dimension d becomes mapping[d] (None: dropped, of size 1 or broadcast)."""
    coefs = [0] * len(shape)
    for d, (new, n) in enumerate(zip(mapping, sizes, strict=False)):
        if new is not None and n > 1:
            coefs[new] = e.coefs[d]
    return Expr(e.const, e.terms, shape, tuple(coefs))


def apply(access: Access, mapping: list, shape: tuple) -> Access:
    """The access over new dimensions."""
    sizes = access.shape
    return Access(
        access.buffer,
        shape,
        tuple(remap(e, mapping, sizes, shape) for e in access.index),
        tuple(remap(m, mapping, sizes, shape) for m in access.mask),
        access.indirect_axis,
        access.indirect_buffer,
        tuple(remap(e, mapping, sizes, shape) for e in access.indirect_index),
    )


def align(shape: tuple, target: tuple) -> list | None:
    """Which dimension of `target` each dimension of `shape` is broadcast to; None if it can't be.

    The first dimension (the partitions) stays first, the free ones are aligned at the end as in NumPy.
    """
    if len(shape) > len(target):
        extra = len(shape) - len(target)
        if any(n != 1 for n in shape[len(shape) - extra :]):
            return None
        inner = align(shape[: len(target)], target)
        return None if inner is None else inner + [None] * extra
    gap = len(target) - len(shape)
    mapping = [0] + [d + gap for d in range(1, len(shape))]
    for d, new in enumerate(mapping):
        if shape[d] not in (1, target[new]):
            return None
    return mapping


def spread(access: Access, shape: tuple) -> Access:
    """The access broadcast to `shape`."""
    if access.shape == shape:
        return access
    mapping = align(access.shape, shape)
    if mapping is None:
        raise NkiError(
            "err_shape_mismatch",
            f"tile of '{access.buffer.name}' with shape {access.shape} can't be broadcast to {shape}",
            limit=shape,
            actual=access.shape,
        )
    return apply(access, mapping, shape)


def squeeze_to(access: Access, shape: tuple) -> Access | None:
    """The access under a shape that differs by axes of size 1 only; the first axis stays first. None if it
    differs in more.
    """
    if access.shape == shape:
        return access
    if access.shape[0] != shape[0]:
        return None
    old = [d for d in range(1, len(access.shape)) if access.shape[d] != 1]
    new = [d for d in range(1, len(shape)) if shape[d] != 1]
    if [access.shape[d] for d in old] != [shape[d] for d in new]:
        return None
    mapping: list = [None] * len(access.shape)
    mapping[0] = 0
    for a, b in zip(old, new, strict=False):
        mapping[a] = b
    return apply(access, mapping, shape)


def broadcast_shape(a: tuple, b: tuple) -> tuple | None:
    """Common shape of two tiles with their partitions first, None if there is none."""
    if a == b:
        return a
    rank = max(len(a), len(b))

    def pad(s: tuple) -> tuple:
        return s[:1] + (1,) * (rank - len(s)) + s[1:]

    try:
        return np.broadcast_shapes(pad(a), pad(b))
    except ValueError:
        return None


def masked(access: Access, mask: object) -> Access:
    """The access under the kernel's mask= argument."""
    return access if mask is None else access.with_mask(mask_constraints(mask, access.shape))


def vector(tensor: Tensor, what: str, partitions: int) -> Access:
    """An operand with one value for each partition, as [P, 1]."""
    access = on_chip(tensor, what)
    if any(n != 1 for n in access.shape[1:]):
        raise NkiError(
            "err_operand_scalar_or_vector",
            f"operand {what}: shape {tensor.shape} holds more than one value for each partition",
            limit=f"a constant or shape ({partitions}, 1)",
            actual=tensor.shape,
        )
    if access.shape[0] != partitions:
        raise partition_mismatch(what, access.shape[0], partitions)
    shape = (partitions, 1)
    return access if access.shape == shape else apply(access, [0] + [None] * (len(access.shape) - 1), shape)


def partition_mismatch(what: str, found: int, expected: int) -> NkiError:
    """Operands with different numbers of partitions."""
    return NkiError(
        "err_num_partition_mismatch",
        f"operand {what} has {found} partitions, the other operand {expected}",
        limit=expected,
        actual=found,
        hint=f"widen the smaller one with .broadcast_to(({max(found, expected)}, ...)) or load the same rows",
    )
