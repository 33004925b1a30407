"""Reductions over free axes, and the nl functions made of them: softmax, rms_norm, var, mean."""

from __future__ import annotations

import math

import _nki

from . import dtypes
from .access import apply, masked
from .context import current
from .elementwise import ACT, ALU, as_tile, binary, reciprocal, scalar_op, unary
from .errors import NkiError
from .expr import Expr
from .tile import Tensor, fresh, mark, on_chip


def axes_of(axis: object, rank: int, what: str) -> tuple:
    """The reduced dimensions, ascending; the partition axis can't be among them."""
    items = axis if isinstance(axis, (tuple, list)) else (axis,)
    out = set()
    for a in items:
        a = int(a)
        if not -rank <= a < rank:
            raise NkiError(
                "err_reduction_axis",
                f"{what}: axis {a} of a tile of rank {rank}",
                limit=f"1..{rank - 1}",
                actual=a,
            )
        out.add(a % rank)
    if 0 in out:
        raise NkiError(
            "err_reduction_axis",
            f"{what} can't reduce the partition axis (axis 0)",
            limit="free axes",
            actual="axis 0",
            hint="transpose the tile first, multiply by ones with nc_matmul, or use "
            "nisa.tensor_partition_reduce",
        )
    if not out:
        raise NkiError("err_reduction_axis", f"{what} needs an axis")
    return tuple(sorted(out))


def reduce(
    op: str,
    x: Tensor,
    axis: object,
    *,
    dtype: object = None,
    mask: object = None,
    keepdims: bool = False,
    negate: bool = False,
    what: str = "reduction",
) -> Tensor:
    """tensor_reduce; without keepdims the reduced axes go, but a tile keeps a free axis: [P, N] gives [P,
    1].
    """
    x = as_tile(x, "data")
    axes = axes_of(axis, max(len(x.shape), 2), what)
    data = on_chip(x, "data")
    if len(data.shape) > len(x.shape) and data.shape[0] == 1 and len(x.shape) >= 2:
        axes = tuple(a + 1 for a in axes)
    if not _nki.ALU_OPS[op][4]:
        raise NkiError(
            "err_unsupported_reduce_op",
            f"{op} can't be a reduction operator",
            limit="add, multiply, subtract, maximum, minimum, bitwise and logical and/or/xor",
            actual=op,
        )
    out = x.dtype if dtype is None else dtypes.normalize(dtype)
    full = tuple(1 if d in axes else n for d, n in enumerate(data.shape))
    kept = full if keepdims else tuple(n for d, n in enumerate(full) if d not in axes)
    if len(kept) < 2:
        kept = kept + (1,)
    result = fresh(kept, out)
    dst = on_chip(result, "dst")
    if kept != full:
        rest = [d for d in range(len(full)) if d not in axes]
        mapping: list = [None] * len(kept)
        for position, d in enumerate(rest):
            mapping[position] = d
        dst = apply(dst, mapping, full)
    source = masked(data, mask)
    dst = dst.with_mask(_outside(source.mask[len(data.mask) :], axes, full))
    attrs: dict = {"op0": ALU[op], "axes": axes}
    if negate:
        attrs["negate"] = True
    return mark(result, current().emit("tensor_reduce", [dst], [source], **attrs))


def _outside(mask: tuple, axes: tuple, shape: tuple) -> tuple:
    """The conditions that do not depend on reduced dimensions: they mask the result too."""
    return tuple(Expr(m.const, m.terms, shape, m.coefs) for m in mask if not any(m.coefs[a] for a in axes))


def count(x: Tensor, axis: object, what: str) -> int:
    """Number of elements that one result is made of."""
    rank = max(len(x.shape), 2)
    shape = x.shape + (1,) * (rank - len(x.shape))
    return math.prod(shape[a] for a in axes_of(axis, rank, what))


def mean(
    x: object, axis: object, *, dtype: object = None, mask: object = None, keepdims: bool = False
) -> Tensor:
    """Average over free axes; integers in float32."""
    x = as_tile(x, "x")
    out = (
        dtypes.normalize(dtype)
        if dtype is not None
        else x.dtype
        if dtypes.is_float(x.dtype)
        else dtypes.float32
    )
    total = reduce("add", x, axis, dtype=dtypes.float32, mask=mask, keepdims=keepdims, what="nl.mean")
    return scalar_op("multiply", total, 1.0 / count(x, axis, "nl.mean"), dtype=out)


def var(
    x: object, axis: object, *, dtype: object = None, mask: object = None, keepdims: bool = False
) -> Tensor:
    """Population variance over free axes."""
    x = as_tile(x, "x")
    out = (
        dtypes.normalize(dtype)
        if dtype is not None
        else x.dtype
        if dtypes.is_float(x.dtype)
        else dtypes.float32
    )
    center = mean(x, axis, dtype=dtypes.float32, mask=mask, keepdims=True)
    shifted = binary("subtract", x, center, dtype=dtypes.float32, mask=mask)
    squares = unary("square", shifted, mask=mask)
    total = reduce("add", squares, axis, mask=mask, keepdims=keepdims, what="nl.var")
    return scalar_op("multiply", total, 1.0 / count(x, axis, "nl.var"), dtype=out)


def softmax(
    x: object, axis: object, *, dtype: object = None, compute_dtype: object = None, mask: object = None
) -> Tensor:
    """exp(x - max) / sum, as a few instructions."""
    x = as_tile(x, "x")
    no_manual("nl.softmax")
    out = (
        dtypes.normalize(dtype or compute_dtype)
        if dtype is not None or compute_dtype is not None
        else x.dtype
    )
    axes = axes_of(axis, max(len(x.shape), 2), "nl.softmax")
    shape = x.shape if len(x.shape) >= 2 else x.shape + (1,)
    if axes == tuple(range(1, len(shape))):
        biggest = reduce(
            "maximum", x, axes, dtype=dtypes.float32, mask=mask, keepdims=True, negate=True, what="nl.softmax"
        )
        data = on_chip(x, "x")
        exps = fresh(data.shape, dtypes.float32)
        bias = on_chip(biggest, "bias")
        bias = apply(bias, [0] + [None] * (len(bias.shape) - 1), (bias.shape[0], 1))
        current().emit(
            "activation",
            [masked(on_chip(exps, "dst"), mask), None],
            [masked(data, mask), bias, (1.0, dtypes.number(dtypes.float32))],
            act=ACT["exp"],
        )
    else:
        biggest = reduce(
            "maximum", x, axes, dtype=dtypes.float32, mask=mask, keepdims=True, what="nl.softmax"
        )
        exps = unary("exp", binary("subtract", x, biggest, dtype=dtypes.float32, mask=mask), mask=mask)
    total = reduce("add", exps, axes, mask=mask, keepdims=True, what="nl.softmax")
    return binary("multiply", exps, reciprocal(total), dtype=out, mask=mask)


def rms_norm(
    x: object,
    w: object,
    axis: object,
    n: object,
    epsilon: float = 1e-6,
    *,
    dtype: object = None,
    compute_dtype: object = None,
    mask: object = None,
) -> Tensor:
    """x / sqrt(sum(x^2) / n + epsilon) * w."""
    x = as_tile(x, "x")
    no_manual("nl.rms_norm")
    out = (
        dtypes.normalize(dtype or compute_dtype)
        if dtype is not None or compute_dtype is not None
        else x.dtype
    )
    squares = unary("square", x, dtype=dtypes.float32, mask=mask)
    total = reduce("add", squares, axis, mask=mask, keepdims=True, what="nl.rms_norm")
    scaled = fused_scale(total, 1.0 / n, epsilon)
    root = unary("rsqrt", scaled)
    normal = binary("multiply", x, root, dtype=dtypes.float32, mask=mask)
    return binary("multiply", normal, w, dtype=out, mask=mask)


def fused_scale(x: Tensor, factor: float, summand: float) -> Tensor:
    """x * factor + summand in one instruction."""
    data = on_chip(x, "x")
    kind = dtypes.number(dtypes.float32)
    result = fresh(data.shape, dtypes.float32)
    instr = current().emit(
        "tensor_scalar",
        [on_chip(result, "dst"), None],
        [data, (float(factor), kind), (float(summand), kind)],
        op0=ALU["multiply"],
        op1=ALU["add"],
    )
    return mark(result, instr)


def no_manual(what: str) -> None:
    """Functions that need tiles of their own don't go with manual allocation."""
    if current().manual:
        raise NkiError(
            "err_implicit_tensor_in_allocated_kernel",
            f"{what} makes tensors of its own, which a manually allocated kernel can't have",
            hint="write it with nisa calls into allocated tensors",
        )


def loop_reduce(
    x: object, op: object, loop_indices: object, *, dtype: object = None, mask: object = None
) -> Tensor:
    """nl.loop_reduce: takes effect when it is assigned, as t = op(t, x) in every iteration."""
    from .alu import op_name

    x = as_tile(x, "x")
    name = op_name(op, "nl.loop_reduce")
    for index in loop_indices if isinstance(loop_indices, (tuple, list)) else (loop_indices,):
        if not isinstance(index, (int, Expr)):
            raise NkiError(
                "err_operand_type",
                f"loop_indices of nl.loop_reduce holds a {type(index).__name__}",
                limit="loop indices",
                actual=type(index).__name__,
            )
    result = Tensor(x.buffer, x.shape, x.index, x.mask)
    result.pending = (name, x, mask, dtype)
    return result


def all_of(
    x: object, axis: object, *, dtype: object = None, mask: object = None, keepdims: bool = False
) -> Tensor:
    """Logical and."""
    out = dtypes.bool_ if dtype is None or dtype is bool else dtypes.normalize(dtype)
    return reduce(
        "logical_and", as_tile(x, "x"), axis, dtype=out, mask=mask, keepdims=keepdims, what="nl.all"
    )
