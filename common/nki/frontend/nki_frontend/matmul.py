"""Matrix products and transposes on the Tensor engine."""

from __future__ import annotations

import math

import _nki

from . import context, dtypes
from .access import masked
from .context import OPCODE, PSUM, SBUF, Access, current
from .elementwise import copy
from .errors import NkiError
from .expr import Expr
from .indexing import mask_constraints
from .tile import Tensor, fresh, mark, memory_error, on_chip, partition_limit

_TENSOR, _VECTOR = _nki.ENGINES["tensor"], _nki.ENGINES["vector"]


def _matmul_operand(t: object, what: str) -> Access:
    """A tile in SBUF; a transpose that is still in PSUM is moved over, as the compiler does."""
    if not isinstance(t, Tensor):
        raise NkiError(
            "err_operand_type",
            f"operand {what} of a matmul is a {type(t).__name__}",
            limit="a tile in sbuf",
            actual=type(t).__name__,
        )
    if (
        t.buffer.buffer == PSUM
        and not t.buffer.declared
        and t.producer is not None
        and (t.producer[0].op == OPCODE["nc_transpose"])
    ):
        t = copy(t)
    if t.buffer.buffer != SBUF:
        raise memory_error(t, what, "sbuf")
    return on_chip(t, what)


def _split_mask(mask: object, stationary: Access, moving: Access) -> tuple:
    """A mask on partitions holds for both operands, one on loop indices alone for the destination."""
    if mask is None:
        return (), (), ()
    conditions = (
        mask_constraints(mask, (stationary.shape[0], max(_free(stationary), _free(moving))))
        if not getattr(mask, "shape", ())
        else None
    )
    if conditions is not None:
        return (), (), conditions
    if len(mask.shape) > 1 and any(n > 1 for n in mask.shape[1:]):
        raise NkiError(
            "err_unsupported_expression_in_mask",
            "the two free axes of a matmul can't be told apart in a mask",
            hint="mask each operand by indexing it with a comparison, as in lhs[i_f < n]",
        )
    return mask_constraints(mask, stationary.shape), mask_constraints(mask, moving.shape), ()


def _free(a: Access) -> int:
    return math.prod(a.shape[1:])


def nc_matmul(
    stationary: object,
    moving: object,
    *,
    is_stationary_onezero: bool = False,
    is_moving_onezero: bool = False,
    is_transpose: bool = False,
    tile_position: object = (),
    tile_size: object = (),
    mask: object = None,
) -> Tensor:
    """stationary.T @ moving, [K, M] and [K, N] to [M, N] in PSUM."""
    s, m = _matmul_operand(stationary, "stationary"), _matmul_operand(moving, "moving")
    if s.shape[0] != m.shape[0]:
        raise NkiError(
            "err_num_partition_mismatch",
            f"nc_matmul: stationary has {s.shape[0]} partitions (shape {s.shape}), moving {m.shape[0]} "
            f"(shape {m.shape})",
            limit="the same contraction size on the partition axis of both",
            actual=f"{s.shape[0]} and {m.shape[0]}",
            hint="stationary is [K, M], moving is [K, N]: transpose the operand whose K is on the free axis",
        )
    for access, what, limit in ((s, "stationary", 128), (m, "moving", 512)):
        if _free(access) > limit:
            raise NkiError(
                "err_size_of_dimension_exceed_arch_limit",
                f"nc_matmul: the free size of the {what} operand is {_free(access)}",
                limit=f"{limit} (nl.tile_size.gemm_{what}_fmax)",
                actual=_free(access),
                hint=f"tile the free axis of the {what} operand by {limit}",
            )
    _check_tiling(tile_position, tile_size)
    rows = _free(s)
    result = fresh((rows,) + m.shape[1:], dtypes.float32, buffer=PSUM)
    ms, mm, md = _split_mask(mask, s, m)
    dst = on_chip(result, "dst")
    if md:
        dst = dst.with_mask(tuple(Expr(c.const, c.terms, dst.shape, (0,) * len(dst.shape)) for c in md))
    attrs = {}
    if is_transpose:
        attrs["is_transpose"] = True
    if is_stationary_onezero:
        attrs["stationary_onezero"] = True
    if is_moving_onezero:
        attrs["moving_onezero"] = True
    return mark(result, current().emit("nc_matmul", [dst], [s.with_mask(ms), m.with_mask(mm)], **attrs))


def double_row(stationary: object, moving: object, mask: object) -> Tensor:
    """nc_matmul of trn2 with perf_mode="double_row_gen3": operands [K, 2, M] and [K, 2, N] of fp8, contracted
    over both leading axes. Two matmuls into one PSUM tile give the same sum.
    """
    for t, what in ((stationary, "stationary"), (moving, "moving")):
        if not isinstance(t, Tensor) or len(t.shape) != 3 or t.shape[1] != 2 or t.dtype.itemsize != 1:
            shape = getattr(t, "shape", type(t).__name__)
            raise NkiError(
                "err_double_row_operand",
                f"nc_matmul perf_mode='double_row_gen3': the {what} operand of shape {shape}",
                limit="[K, 2, free] of an fp8 dtype",
                actual=shape,
            )
    result = nc_matmul(stationary[:, 0, :], moving[:, 0, :], mask=mask)
    second = nc_matmul(stationary[:, 1, :], moving[:, 1, :], mask=mask)
    instr, _ = second.producer
    instr.dst[0] = on_chip(result, "dst").with_mask(instr.dst[0].mask)
    instr.attrs["accumulate"] = True
    return result


def _check_tiling(position: object, size: object) -> None:
    position, size = tuple(position), tuple(size)
    if not position and not size:
        return
    if len(position) != 2 or len(size) != 2:
        raise NkiError(
            "err_pe_tiling",
            "tile_position and tile_size must be given together, as (row, column) pairs",
            limit="two pairs",
            actual=f"{position} and {size}",
        )
    for v in size:
        if int(v) % 32:
            raise NkiError("err_pe_tiling", f"tile_size {size}", limit="multiples of 32", actual=size)
    if tuple(int(v) for v in size) == (32, 32):
        raise NkiError(
            "err_pe_tiling",
            "rows and columns of tile_size can't both be 32 on NeuronCore-v2",
            limit="at most one of them 32",
            actual=size,
        )


def transpose_tile(
    x: object, *, dtype: object = None, mask: object = None, engine: int = 0, limit: bool = True
) -> Tensor:
    """nc_transpose: [P, F] to [F, P]; in PSUM on the Tensor engine, in SBUF on the Vector engine."""
    if not isinstance(x, Tensor):
        raise NkiError("err_operand_type", f"nc_transpose takes a tile, not {type(x).__name__}")
    data = on_chip(x, "data")
    p, f = data.shape[0], _free(data)
    if engine not in (0, _TENSOR, _VECTOR):
        raise NkiError(
            "err_unsupported_engine",
            "nc_transpose runs on the Tensor or the Vector engine",
            limit="tensor_engine, vector_engine",
            actual=engine,
        )
    if engine == 0:
        # The Tensor engine can't read PSUM; small tiles there go to the Vector engine.
        engine = _VECTOR if data.buffer.buffer == PSUM and p <= 32 and f <= 32 else _TENSOR
        if data.buffer.buffer == PSUM and engine == _TENSOR:
            data = on_chip(copy(x), "data")
    most = 32 if engine == _VECTOR else 128
    if p > most or f > most:
        raise NkiError(
            "err_size_of_dimension_exceed_arch_limit",
            f"nc_transpose of a tile of shape {x.shape} on the {'Vector' if most == 32 else 'Tensor'} engine",
            limit=f"{most} x {most}",
            actual=f"{p} x {f}",
            hint=f"transpose tiles of at most {most} x {most}",
        )
    trace = current()
    if engine == _TENSOR and trace.manual:
        raise NkiError(
            "err_transpose_on_tensor_engine_not_allowed_in_allocated_kernel",
            "a Tensor-engine transpose in a manually allocated kernel",
            hint="multiply by an allocated identity with nc_matmul, or use the Vector engine (<= 32 x 32)",
        )
    if engine == _TENSOR and data.buffer.buffer == PSUM:
        raise memory_error(x, "data", "sbuf")
    out = x.dtype if dtype is None else dtypes.normalize(dtype)
    result = fresh((f, p), out, buffer=PSUM if engine == _TENSOR else SBUF)
    source = masked(data, mask)
    dst = on_chip(result, "dst")
    if source.mask and len(data.shape) == 2:
        from .access import apply

        dst = dst.with_mask(apply(source, [1, 0], (f, p)).mask)
    return mark(result, trace.emit("nc_transpose", [dst], [source], engine=engine))


def transpose(x: object, *, dtype: object = None, mask: object = None) -> Tensor:
    """nl.transpose: swaps the axes of a 2-D tile."""
    if isinstance(x, Tensor) and len(x.shape) > 2:
        raise NkiError(
            "err_exceed_max_supported_dimension",
            f"nl.transpose of a tile of shape {x.shape}",
            limit="2 axes",
            actual=f"{len(x.shape)} axes",
            hint="reshape or index down to two axes",
        )
    if isinstance(x, Tensor) and context.is_hbm(x.buffer.buffer):
        raise memory_error(x, "x", "psum|sbuf")
    return transpose_tile(x, dtype=dtype, mask=mask)


def matmul(x: object, y: object, *, transpose_x: bool = False, mask: object = None) -> Tensor:
    """nl.matmul: x @ y, or x.T @ y where x is already transposed."""
    for t, what in ((x, "x"), (y, "y")):
        if not isinstance(t, Tensor):
            raise NkiError(
                "err_operand_type", f"operand {what} of nl.matmul is a {type(t).__name__}", limit="a tile"
            )
        if context.is_hbm(t.buffer.buffer):
            raise memory_error(t, f"{what} of nl.matmul", "sbuf")
        if len(t.shape) > 2:
            raise NkiError(
                "err_exceed_max_supported_dimension",
                f"operand {what} of nl.matmul has shape {t.shape}",
                limit="2 axes",
                actual=f"{len(t.shape)} axes",
            )
    if transpose_x:
        return nc_matmul(x, y, mask=mask)
    shape = on_chip_2d(x)
    if shape[1] != on_chip_2d(y)[0]:
        raise NkiError(
            "err_num_partition_mismatch",
            f"nl.matmul: x has shape {x.shape}, y {y.shape}",
            limit=f"y with {shape[1]} partitions",
            actual=f"{on_chip_2d(y)[0]} partitions",
            hint="x is [M, K], y is [K, N]; pass transpose_x=True if x is already [K, M]",
        )
    if shape[1] > 128:
        raise NkiError(
            "err_size_of_dimension_exceed_arch_limit",
            f"nl.matmul: x has shape {x.shape}",
            limit="128 x 128",
            actual=f"{shape[0]} x {shape[1]}",
            hint="tile the contraction axis by 128",
        )
    if current().manual:
        raise NkiError(
            "err_transpose_on_tensor_engine_not_allowed_in_allocated_kernel",
            "nl.matmul without transpose_x in a manually allocated kernel",
            hint="transpose x beforehand and pass transpose_x=True",
        )
    if x.buffer.buffer == PSUM:
        raise memory_error(x, "x of nl.matmul", "sbuf")
    return nc_matmul(copy(transpose_tile(x)), y, mask=mask)


def on_chip_2d(t: Tensor) -> tuple:
    """(partitions, free size) of a tile of rank <= 2."""
    return t.shape if len(t.shape) == 2 else (t.shape + (1, 1))[:2]


def shared_identity(n: int, dtype: object) -> Tensor:
    """nl.shared_identity_matrix: one constant for each size and dtype."""
    import numpy as np

    from .memory import constant

    if n > 128:
        raise partition_limit(n, "nl.shared_identity_matrix")
    trace = current()
    key = ("identity", n, dtypes.normalize(dtype))
    known = trace.derived.get(key)
    if known is None:
        known = trace.derived[key] = constant(np.identity(n, dtype=np.float32), dtype)
    return known[...]
