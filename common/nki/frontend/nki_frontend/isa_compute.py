"""nisa calls of the Tensor, Vector and Scalar engines."""

from __future__ import annotations

import _nki
import numpy as np

from . import dtypes, reduction
from . import matmul as mm
from .access import masked, vector
from .alu import act_name, op_name
from .context import PSUM, current
from .elementwise import ACT, ALU, copy, engine_for
from .errors import NkiError
from .isa_common import (
    Engine,
    ReduceCmd,
    engine_value,
    float_value,
    in_sbuf,
    output,
    result_type,
    same_shape,
    scalar_or_vector,
    tile,
)
from .tile import Tensor, mark, memory_error, on_chip

_GPSIMD = Engine.gpsimd.value
_FLOAT32 = dtypes.number(dtypes.float32)


def nc_matmul(
    stationary,
    moving,
    *,
    is_stationary_onezero=False,
    is_moving_onezero=False,
    is_transpose=False,
    tile_position=(),
    tile_size=(),
    mask=None,
    **kwargs,
):
    """stationary.T @ moving into PSUM."""
    mode = kwargs.get("perf_mode") or "none"
    if mode == "double_row_gen3" and current().options.platform == "trn2":
        return mm.double_row(stationary, moving, mask)
    if mode != "none":
        raise NkiError(
            "err_unsupported_perf_mode",
            f"nc_matmul perf_mode={mode!r}",
            limit="none; double_row_gen3 in a kernel with platform_target='trn2'",
            actual=mode,
        )
    return mm.nc_matmul(
        stationary,
        moving,
        is_stationary_onezero=is_stationary_onezero,
        is_moving_onezero=is_moving_onezero,
        is_transpose=is_transpose,
        tile_position=tile_position,
        tile_size=tile_size,
        mask=mask,
    )


def nc_transpose(data, *, mask=None, dtype=None, engine=Engine.unknown, **kwargs):
    """[P, F] to [F, P]."""
    return mm.transpose_tile(data, dtype=dtype, mask=mask, engine=engine_value(engine, "nisa.nc_transpose"))


def _activation(op, data, bias, scale, reduce_op, reduce_res, command, mask, dtype, what):
    name = act_name(op, what)
    source = tile(data, "data")
    if isinstance(scale, Tensor):
        if scale.dtype != dtypes.float32:
            raise NkiError(
                "err_activation_scale_invalid_type",
                f"{what}: scale is a {dtypes.name(scale.dtype)} tile",
                limit="float32",
                actual=dtypes.name(scale.dtype),
                hint="use a float32 tile or a constant",
            )
        flat = on_chip(scale, "scale")
        if any(n != 1 for n in flat.shape[1:]) or flat.shape[0] != source.shape[0]:
            raise NkiError(
                "err_activation_scale_scalar_or_vector",
                f"{what}: scale has shape {scale.shape}",
                limit=f"a number or shape ({source.shape[0]}, 1)",
                actual=scale.shape,
                hint="pass a constant or a tile with one value for each partition",
            )
        factor: object = vector(scale, "scale", source.shape[0])
    else:
        factor = (float_value(scale, "scale"), _FLOAT32)
    offset = None
    if bias is not None:
        if not isinstance(bias, Tensor):
            raise NkiError(
                "err_operand_type",
                f"{what}: bias is a {type(bias).__name__}",
                limit=f"a tile of shape ({source.shape[0]}, 1)",
                actual=type(bias).__name__,
                hint="make a bias tile with nl.full((P, 1), value, dtype=nl.float32)",
            )
        if bias.dtype not in (dtypes.float32, dtypes.bfloat16, np.dtype(np.float16)):
            raise NkiError(
                "err_activation_bias_invalid_type",
                f"{what}: bias is a {dtypes.name(bias.dtype)} tile",
                limit="float32, float16 or bfloat16",
                actual=dtypes.name(bias.dtype),
            )
        offset = vector(bias, "bias", source.shape[0])
        if name == "reciprocal":
            raise NkiError(
                "err_activation_reciprocal_bias",
                f"{what}: reciprocal takes no bias on NeuronCore-v2",
                hint="add with nisa.tensor_scalar first",
            )
    result, dst = output(source.shape, result_type(data.dtype, dtype), mask)
    attrs: dict = {"act": ACT[name]}
    registers = None
    if command is not ReduceCmd.idle or reduce_res is not None:
        reducer = "add" if reduce_op is None else op_name(reduce_op, f"{what} reduce_op")
        if reducer != "add":
            raise NkiError(
                "err_unsupported_reduce_op",
                f"{what}: reduce_op {reducer}",
                limit="add on NeuronCore-v2",
                actual=reducer,
            )
        attrs["reduce_op"] = ALU["add"]
        attrs["reduce_cmd"] = command.value
    if reduce_res is not None:
        registers = vector(reduce_res, "reduce_res", source.shape[0])
        partial = masked(source, mask).mask
        registers = (
            registers.with_mask(
                reduction._outside(
                    partial[len(source.mask) :], tuple(range(1, len(source.shape))), registers.shape
                )
            )
            if mask is not None and len(source.shape) == 2
            else registers
        )
    instr = current().emit("activation", [dst, registers], [masked(source, mask), offset, factor], **attrs)
    return mark(result, instr)


def activation(
    op,
    data,
    *,
    bias=None,
    scale=1.0,
    reduce_op=None,
    reduce_res=None,
    reduce_cmd=ReduceCmd.idle,
    mask=None,
    dtype=None,
    **kwargs,
):
    """op(data * scale + bias), with an optional running sum."""
    return _activation(
        op, data, bias, scale, reduce_op, reduce_res, reduce_cmd, mask, dtype, "nisa.activation"
    )


def activation_reduce(
    op, data, *, reduce_op, reduce_res, bias=None, scale=1.0, mask=None, dtype=None, **kwargs
):
    """activation with a fresh sum over the free axes."""
    if reduce_res is None:
        raise NkiError("err_operand_type", "nisa.activation_reduce needs reduce_res", limit="a [P, 1] tile")
    return _activation(
        op,
        data,
        bias,
        scale,
        reduce_op,
        reduce_res,
        ReduceCmd.reset_reduce,
        mask,
        dtype,
        "nisa.activation_reduce",
    )


def tensor_reduce(op, data, axis, *, mask=None, dtype=None, negate=False, keepdims=False, **kwargs):
    """Reduction over free axes."""
    tile(data, "data")
    name = op_name(op, "nisa.tensor_reduce", isa=True)
    return reduction.reduce(
        name, data, axis, dtype=dtype, mask=mask, negate=negate, keepdims=keepdims, what="nisa.tensor_reduce"
    )


def tensor_partition_reduce(op, data, *, mask=None, dtype=None, **kwargs):
    """Reduction over the partition axis."""
    name = op_name(op, "nisa.tensor_partition_reduce", isa=True)
    if name not in ("add", "maximum", "bitwise_or", "bitwise_and"):
        raise NkiError(
            "err_unsupported_reduce_op",
            f"nisa.tensor_partition_reduce: {name}",
            limit="add, max, bitwise_or, bitwise_and",
            actual=name,
        )
    source = tile(data, "data")
    if source.buffer.buffer == PSUM:
        raise memory_error(data, "data of nisa.tensor_partition_reduce", "sbuf")
    result, dst = output((1,) + source.shape[1:], result_type(data.dtype, dtype), None)
    return mark(
        result, current().emit("tensor_partition_reduce", [dst], [masked(source, mask)], op0=ALU[name])
    )


def tensor_tensor(data1, data2, op, *, dtype=None, mask=None, engine=Engine.unknown, **kwargs):
    """data1 op data2."""
    name = op_name(op, "nisa.tensor_tensor", isa=True)
    if _nki.ALU_OPS[name][1] != 2:
        raise NkiError(
            "err_unsupported_op", f"nisa.tensor_tensor: {name} has one operand", limit="a binary operator"
        )
    a, b = tile(data1, "data1"), tile(data2, "data2")
    b = same_shape(a, b, "data2")
    where = engine_value(engine, "nisa.tensor_tensor") or engine_for(name)
    _no_psum_pair(a, b, data2, where)
    result, dst = output(a.shape, result_type(dtypes.promote(data1.dtype, data2.dtype), dtype), mask)
    instr = current().emit(
        "tensor_tensor", [dst], [masked(a, mask), masked(b, mask)], engine=where, op0=ALU[name]
    )
    return mark(result, instr)


def _no_psum_pair(a, b, second, engine: int) -> None:
    if engine == _GPSIMD:
        for access in (a, b):
            if access.buffer.buffer == PSUM:
                raise memory_error(Tensor(access.buffer), "of the GpSimd engine", "sbuf")
    if a.buffer.buffer == PSUM and b.buffer.buffer == PSUM:
        raise NkiError(
            "err_unsupported_memory",
            "both tile operands are in PSUM",
            limit="at most one operand in psum",
            actual="psum and psum",
            hint="copy one operand to SBUF with nl.copy",
        )


def tensor_scalar(
    data,
    op0,
    operand0,
    reverse0=False,
    op1=None,
    operand1=None,
    reverse1=False,
    *,
    dtype=None,
    mask=None,
    engine=Engine.unknown,
    **kwargs,
):
    """(data op0 operand0) op1 operand1."""
    first = op_name(op0, "nisa.tensor_scalar op0", isa=True)
    second = None if op1 is None else op_name(op1, "nisa.tensor_scalar op1", isa=True)
    source = tile(data, "data")
    a = scalar_or_vector(operand0, "operand0", source)
    b = None if second is None else scalar_or_vector(operand1, "operand1", source)
    if second is not None and _nki.ALU_OPS[first][2] != _nki.ALU_OPS[second][2]:
        raise NkiError(
            "err_mixed_bitvec_and_arithmetic_ops",
            f"nisa.tensor_scalar: {first} and {second}",
            limit="both operators bitwise or both arithmetic",
            actual=f"{first}, {second}",
        )
    where = engine_value(engine, "nisa.tensor_scalar") or engine_for(first)
    if where == _GPSIMD:
        source = in_sbuf(source)
    result, dst = output(source.shape, result_type(data.dtype, dtype), mask)
    attrs: dict = {"op0": ALU[first]}
    if reverse0:
        attrs["reverse0"] = True
    if second is not None:
        attrs["op1"] = ALU[second]
        if reverse1:
            attrs["reverse1"] = True
    instr = current().emit("tensor_scalar", [dst, None], [masked(source, mask), a, b], engine=where, **attrs)
    return mark(result, instr)


def tensor_scalar_reduce(
    *, data, op0, operand0, reduce_op, reduce_res, reverse0=False, dtype=None, mask=None, **kwargs
):
    """tensor_scalar with a reduction of its result over the free axes."""
    first = op_name(op0, "nisa.tensor_scalar_reduce op0", isa=True)
    reducer = op_name(reduce_op, "nisa.tensor_scalar_reduce reduce_op", isa=True)
    if reducer not in ("add", "subtract", "multiply", "maximum", "minimum"):
        raise NkiError(
            "err_unsupported_reduce_op",
            f"nisa.tensor_scalar_reduce: {reducer}",
            limit="add, subtract, multiply, max, min",
            actual=reducer,
        )
    if reverse0:
        raise NkiError(
            "err_unsupported_argument",
            "nisa.tensor_scalar_reduce does not support reverse0 yet",
            limit="reverse0=False",
            actual="True",
        )
    source = tile(data, "data")
    registers = vector(reduce_res, "reduce_res", source.shape[0])
    result, dst = output(source.shape, result_type(data.dtype, dtype), mask)
    instr = current().emit(
        "tensor_scalar",
        [dst, registers],
        [masked(source, mask), scalar_or_vector(operand0, "operand0", source), None],
        op0=ALU[first],
        reduce_op=ALU[reducer],
    )
    return mark(result, instr)


def scalar_tensor_tensor(
    *, data, op0, operand0, op1, operand1, reverse0=False, reverse1=False, dtype=None, mask=None, **kwargs
):
    """(data op0 operand0) op1 operand1 with operand1 a tile."""
    first = op_name(op0, "nisa.scalar_tensor_tensor op0", isa=True)
    second = op_name(op1, "nisa.scalar_tensor_tensor op1", isa=True)
    source = tile(data, "data")
    other = same_shape(source, tile(operand1, "operand1"), "operand1")
    _no_psum_pair(source, other, operand1, 0)
    result, dst = output(source.shape, result_type(data.dtype, dtype), mask)
    attrs: dict = {"op0": ALU[first], "op1": ALU[second]}
    if reverse0:
        attrs["reverse0"] = True
    if reverse1:
        attrs["reverse1"] = True
    instr = current().emit(
        "scalar_tensor_tensor",
        [dst],
        [masked(source, mask), scalar_or_vector(operand0, "operand0", source), masked(other, mask)],
        **attrs,
    )
    return mark(result, instr)


def tensor_tensor_scan(
    data0, data1, initial, op0, op1, reverse0=False, reverse1=False, *, dtype=None, mask=None, **kwargs
):
    """r[i] = op1(op0(data0[i], r[i - 1]), data1[i]) along the free axis."""
    first = op_name(op0, "nisa.tensor_tensor_scan op0", isa=True)
    second = op_name(op1, "nisa.tensor_tensor_scan op1", isa=True)
    a, b = tile(data0, "data0"), tile(data1, "data1")
    b = same_shape(a, b, "data1")
    _no_psum_pair(a, b, data1, 0)
    result, dst = output(a.shape, result_type(dtypes.promote(data0.dtype, data1.dtype), dtype), mask)
    attrs: dict = {"op0": ALU[first], "op1": ALU[second]}
    if reverse0:
        attrs["reverse0"] = True
    if reverse1:
        attrs["reverse1"] = True
    instr = current().emit(
        "tensor_tensor_scan",
        [dst],
        [masked(a, mask), masked(b, mask), scalar_or_vector(initial, "initial", a, dtypes.float32)],
        **attrs,
    )
    return mark(result, instr)


def tensor_copy(src, *, mask=None, dtype=None, engine=Engine.unknown, **kwargs):
    """On-chip copy with cast."""
    tile(src, "src")
    return copy(src, mask=mask, dtype=dtype, engine=engine_value(engine, "nisa.tensor_copy"))


def reciprocal(data, *, dtype=None, mask=None, **kwargs):
    """1 / data."""
    source = tile(data, "data")
    result, dst = output(source.shape, result_type(data.dtype, dtype), mask)
    return mark(result, current().emit("reciprocal", [dst], [masked(source, mask)]))


def bn_stats(data, *, mask=None, dtype=None, **kwargs):
    """Six statistics for each partition."""
    source = tile(data, "data")
    free = 1
    for n in source.shape[1:]:
        free *= n
    limit = _nki.LIMITS["bn_stats_free"]
    if free > limit:
        raise NkiError(
            "err_size_of_dimension_exceed_arch_limit",
            f"nisa.bn_stats of {free} elements for each partition",
            limit=f"{limit} (nl.tile_size.bn_stats_fmax)",
            actual=free,
            hint="split the free axis and merge the results with nisa.bn_aggr",
        )
    result, dst = output((source.shape[0], 6), result_type(data.dtype, dtype), None)
    return mark(
        result, current().emit("bn_stats", [_partition_mask(dst, source, mask)], [masked(source, mask)])
    )


def _partition_mask(dst, source, mask):
    """The conditions of a mask that hold for the whole row mask the row's result."""
    if mask is None:
        return dst
    added = masked(source, mask).mask[len(source.mask) :]
    rows = reduction._outside(added, tuple(range(1, len(source.shape))), source.shape)
    from .expr import Expr

    return dst.with_mask(
        tuple(Expr(m.const, m.terms, dst.shape, (m.coefs[0],) + (0,) * (len(dst.shape) - 1)) for m in rows)
    )


def bn_aggr(data, *, mask=None, dtype=None, **kwargs):
    """Mean and variance from bn_stats triples."""
    source = tile(data, "data")
    free = 1
    for n in source.shape[1:]:
        free *= n
    if free % 3:
        raise NkiError(
            "err_bn_aggr_free_size",
            f"nisa.bn_aggr of {free} elements for each partition",
            limit="a multiple of 3",
            actual=free,
        )
    result, dst = output((source.shape[0], 2), result_type(data.dtype, dtype), None)
    return mark(
        result, current().emit("bn_aggr", [_partition_mask(dst, source, mask)], [masked(source, mask)])
    )
