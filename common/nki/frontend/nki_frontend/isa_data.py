"""nisa calls that move, select, search and generate data."""

from __future__ import annotations

import math

import numpy as np

from . import context, dtypes, memory
from .access import masked
from .alu import op_name
from .context import PSUM, SBUF, Access, current
from .elementwise import ALU, index_tile
from .errors import NkiError
from .expr import Expr, Predicate
from .isa_common import (
    DgeMode,
    Engine,
    NcVersion,
    OobMode,
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
from .placement import memory_of
from .tile import Tensor, fresh, mark, memory_error, on_chip, settle

_FP32_MIN = float(np.finfo(np.float32).min)


def get_nc_version():
    """Hardware generation of the target."""
    return NcVersion.gen3 if current().options.platform == "trn2" else NcVersion.gen2


def iota(expr, dtype, *, mask=None, **kwargs):
    """The values of an index expression as a tile in SBUF."""
    if isinstance(expr, (int, np.integer)):
        expr = Expr(int(expr), (), (1, 1), (0, 0))
    if not isinstance(expr, Expr):
        raise NkiError(
            "err_operand_type",
            f"nisa.iota takes an index expression, not {type(expr).__name__}",
            limit="an affine expression of nl.arange and loop indices",
            actual=type(expr).__name__,
        )
    if len(expr.shape) == 1:
        raise NkiError(
            "err_1d_arange_not_supported",
            "rank-1 nl.arange in nisa.iota",
            hint="give it a second axis, as in nl.arange(n)[None, :]",
        )
    result = index_tile(expr, dtype=dtypes.normalize(dtype))
    if mask is not None:
        instr = result.producer[0]
        instr.dst[0] = masked(instr.dst[0], mask)
    return result


def memset(shape, value, dtype, *, mask=None, engine=Engine.unknown, **kwargs):
    """A new tile filled with a constant; the first axis is the partition axis."""
    memory_kind, _ = memory_of(kwargs.get("buffer"))
    if context.is_hbm(memory_kind):
        raise NkiError(
            "err_hbm_tensor_with_init_value_not_supported", "nisa.memset can't fill HBM", limit="sbuf or psum"
        )
    sizes = tuple(int(s) for s in (shape if isinstance(shape, (tuple, list)) else (shape,)))
    if len(sizes) < 2:
        sizes = sizes + (1,) * (2 - len(sizes))
    result = fresh(sizes, dtypes.normalize(dtype), buffer=memory_kind)
    where = engine_value(engine, "nisa.memset")
    instr = current().emit(
        "memset", [masked(on_chip(result, "dst"), mask)], [], engine=where, value=float_value(value, "value")
    )
    return mark(result, instr)


def affine_select(pred, on_true_tile, on_false_value, *, mask=None, dtype=None, **kwargs):
    """on_true_tile where an affine comparison holds, else a constant."""
    if isinstance(pred, (bool, np.bool_)):
        pred = Predicate.compare(Expr(0 if pred else -1, ()), "greater_equal")
    if not isinstance(pred, Predicate) or pred.expr is None:
        raise NkiError(
            "err_unsupported_expression_in_mask",
            "pred of nisa.affine_select must be one comparison of index expressions",
            limit="one affine comparison",
            actual=repr(pred),
            hint="apply two selects one after the other instead of joining comparisons",
        )
    source = tile(on_true_tile, "on_true_tile")
    from .indexing import fit

    expr = fit(pred.expr, source.shape, "pred of nisa.affine_select")
    source = in_sbuf(source)
    result, dst = output(source.shape, result_type(on_true_tile.dtype, dtype), mask)
    instr = current().emit(
        "affine_select",
        [dst],
        [masked(source, mask)],
        expr=expr,
        op0=ALU[pred.op],
        value=float_value(on_false_value, "on_false_value"),
    )
    return mark(result, instr)


def range_select(
    *,
    on_true_tile,
    comp_op0,
    comp_op1,
    bound0,
    bound1,
    reduce_cmd=ReduceCmd.idle,
    reduce_res=None,
    reduce_op=np.amax,
    range_start=0,
    on_false_value=_FP32_MIN,
    mask=None,
    dtype=None,
    **kwargs,
):
    """Elements whose index lies within per-partition bounds, else FP32 min."""
    from .access import vector

    ops = []
    for op, what in ((comp_op0, "comp_op0"), (comp_op1, "comp_op1")):
        name = op_name(op, f"nisa.range_select {what}")
        if name not in ("equal", "less", "less_equal", "greater", "greater_equal"):
            raise NkiError(
                "err_unsupported_op",
                f"nisa.range_select {what}: {name}",
                limit="equal, less, less_equal, greater, greater_equal",
                actual=name,
            )
        ops.append(name)
    if float_value(on_false_value, "on_false_value") != _FP32_MIN:
        raise NkiError(
            "err_range_select_false_value",
            "nisa.range_select writes FP32 min where the range does not hold",
            limit="nl.fp32.min",
            actual=on_false_value,
        )
    if op_name(reduce_op, "nisa.range_select reduce_op") != "maximum":
        raise NkiError("err_unsupported_reduce_op", "nisa.range_select reduces with max only", limit="max")
    source = tile(on_true_tile, "on_true_tile")
    bounds = []
    for bound, what in ((bound0, "bound0"), (bound1, "bound1")):
        if not isinstance(bound, Tensor) or bound.dtype != dtypes.float32:
            raise NkiError(
                "err_operand_type",
                f"nisa.range_select {what} must be a float32 tile of shape (P, 1)",
                limit="float32 [P, 1]",
                actual=getattr(bound, "dtype", type(bound).__name__),
            )
        bounds.append(vector(bound, what, source.shape[0]))
    registers = None if reduce_res is None else vector(reduce_res, "reduce_res", source.shape[0])
    result, dst = output(source.shape, result_type(on_true_tile.dtype, dtype), mask)
    rank, coefs, step = len(source.shape), [0] * len(source.shape), 1
    for d in range(rank - 1, 0, -1):
        coefs[d] = step
        step *= source.shape[d]
    start = Expr(0, ()) + range_start
    expr = Expr(start.const, start.terms, source.shape, tuple(coefs))
    instr = current().emit(
        "range_select",
        [dst, registers],
        [masked(source, mask), *bounds],
        expr=expr,
        op0=ALU[ops[0]],
        op1=ALU[ops[1]],
        reduce_op=ALU["maximum"],
        reduce_cmd=reduce_cmd.value,
        value=_FP32_MIN,
    )
    return mark(result, instr)


def dropout(data, prob, *, mask=None, dtype=None, **kwargs):
    """Zeroes elements at random."""
    source = tile(data, "data")
    p = scalar_or_vector(prob, "prob", source, dtypes.float32)
    result, dst = output(source.shape, result_type(data.dtype, dtype), mask)
    return mark(result, current().emit("dropout", [dst], [masked(source, mask), p], seed=next_seed()))


def next_seed() -> int:
    """A seed of its own for each random instruction, from nl.random_seed where that was called."""
    trace = current()
    trace.random_calls += 1
    return trace.seed * 1_000_003 + trace.random_calls


def _dynamic(t: Tensor, what: str) -> Access:
    """An on-chip tile selected by a run-time index, as an operand."""
    if context.is_hbm(t.buffer.buffer):
        raise memory_error(t, what, "psum|sbuf")
    settle(t)
    return memory.any_access(t, what)


def tensor_copy_dynamic_src(src, *, mask=None, dtype=None, engine=Engine.unknown, **kwargs):
    """Copy of a tile that a run-time index selects."""
    access = masked(_dynamic(src, "src"), mask)
    result, dst = output(access.shape, result_type(src.dtype, dtype), mask)
    instr = current().emit("tensor_copy", [dst], [access], engine=engine_value(engine, "nisa.tensor_copy"))
    return mark(result, instr)


def tensor_copy_dynamic_dst(*, dst, src, mask=None, dtype=None, engine=Engine.unknown, **kwargs):
    """Copy into a tile that a run-time index selects."""
    target = masked(_dynamic(dst, "dst"), mask)
    source = same_shape(target, tile(src, "src"), "src")
    current().emit(
        "tensor_copy", [target], [masked(source, mask)], engine=engine_value(engine, "nisa.tensor_copy")
    )
    return dst


def tensor_copy_predicated(*, src, dst, predicate, mask=None, dtype=None, reverse_pred=False, **kwargs):
    """dst = src where the predicate is non-zero."""
    target = tile(dst, "dst")
    flag = same_shape(target, tile(predicate, "predicate"), "predicate")
    if predicate.dtype not in (dtypes.uint8, np.dtype(np.uint16), dtypes.uint32, dtypes.bool_):
        raise NkiError(
            "err_predicate_dtype",
            f"predicate has dtype {dtypes.name(predicate.dtype)}",
            limit="uint8, uint16 or uint32",
            actual=dtypes.name(predicate.dtype),
        )
    if isinstance(src, Tensor):
        if src.dtype != dst.dtype:
            raise NkiError(
                "err_dtype_mismatch",
                f"src has dtype {dtypes.name(src.dtype)}, dst {dtypes.name(dst.dtype)}",
                limit="equal dtypes",
                actual=f"{dtypes.name(src.dtype)} and {dtypes.name(dst.dtype)}",
            )
        source: object = same_shape(target, tile(src, "src"), "src")
        if source.buffer.buffer == PSUM and flag.buffer.buffer == PSUM:
            raise memory_error(src, "src (with predicate in PSUM)", "sbuf")
        source = masked(source, mask)
    else:
        source = (float_value(src, "src"), dtypes.number(dst.dtype))
    attrs = {"negate": True} if reverse_pred else {}
    current().emit("tensor_copy_predicated", [masked(target, mask)], [source, masked(flag, mask)], **attrs)
    return dst


def local_gather(src_buffer, index, num_elem_per_idx=1, num_valid_indices=None, *, mask=None, **kwargs):
    """Gather along the free axis by indices that 16 partitions share."""
    source, ind = tile(src_buffer, "src_buffer"), tile(index, "index")
    for t, what in ((src_buffer, "src_buffer"), (index, "index")):
        if t.buffer.buffer != SBUF:
            raise memory_error(t, f"{what} of nisa.local_gather", "sbuf")
    if source.shape[0] != ind.shape[0] or source.shape[0] % 16:
        raise NkiError(
            "err_num_partition_mismatch",
            f"nisa.local_gather: {source.shape[0]} partitions of data and {ind.shape[0]} of indices",
            limit="equal multiples of 16",
            actual=f"{source.shape[0]} and {ind.shape[0]}",
        )
    if index.dtype != np.dtype(np.uint16):
        raise NkiError(
            "err_local_gather_index_dtype",
            f"indices of dtype {dtypes.name(index.dtype)}",
            limit="uint16",
            actual=dtypes.name(index.dtype),
        )
    if num_elem_per_idx not in (1, 2, 4, 8, 16, 32):
        raise NkiError(
            "err_local_gather_elements",
            f"num_elem_per_idx {num_elem_per_idx}",
            limit="1, 2, 4, 8, 16, 32",
            actual=num_elem_per_idx,
        )
    most = 16 * math.prod(ind.shape[1:])
    count = most if num_valid_indices is None else int(num_valid_indices)
    if not 0 < count <= min(most, 4096):
        raise NkiError(
            "err_local_gather_indices",
            f"num_valid_indices {count}",
            limit=f"1..{min(most, 4096)}",
            actual=count,
        )
    shape = (source.shape[0], count) if num_elem_per_idx == 1 else (source.shape[0], count, num_elem_per_idx)
    result, dst = output(shape, src_buffer.dtype, mask)
    instr = current().emit(
        "local_gather", [dst], [source, ind], num_elem_per_idx=int(num_elem_per_idx), num_valid_indices=count
    )
    return mark(result, instr)


def _search_operand(t: object, what: str, call: str) -> Access:
    access = tile(t, what)
    free = math.prod(access.shape[1:])
    if len(access.shape) > 5 or not 8 <= free <= 16384:
        raise NkiError(
            "err_size_of_dimension_exceed_arch_limit",
            f"{call}: {what} of shape {t.shape} has {free} elements for each partition",
            limit="8..16384 elements, rank <= 5",
            actual=free,
        )
    return access


def _eight(t: object, what: str, call: str, partitions: int) -> Access:
    access = tile(t, what)
    if math.prod(access.shape[1:]) != 8 or access.shape[0] != partitions or len(access.shape) > 3:
        raise NkiError(
            "err_shape_mismatch",
            f"{call}: {what} has shape {t.shape}",
            limit=f"({partitions}, 8)",
            actual=t.shape,
        )
    return access


def max8(*, src, mask=None, dtype=None, **kwargs):
    """The eight largest values of each partition, descending."""
    source = _search_operand(src, "src", "nisa.max8")
    result, dst = output((source.shape[0], 8), result_type(src.dtype, dtype), None)
    return mark(result, current().emit("max8", [dst], [masked(source, mask)]))


def nc_find_index8(*, data, vals, mask=None, dtype=None, **kwargs):
    """First index of each of eight values."""
    source = _search_operand(data, "data", "nisa.nc_find_index8")
    values = _eight(vals, "vals", "nisa.nc_find_index8", source.shape[0])
    kind = dtypes.uint32 if dtype is None else dtypes.normalize(dtype)
    if kind not in (dtypes.uint32, np.dtype(np.uint16)):
        raise NkiError(
            "err_find_index_dtype",
            f"nisa.nc_find_index8 dtype {dtypes.name(kind)}",
            limit="uint32 or uint16",
            actual=dtypes.name(kind),
        )
    result, dst = output((source.shape[0], 8), kind, None)
    return mark(result, current().emit("nc_find_index8", [dst], [masked(source, mask), values]))


def nc_match_replace8(*, data, vals, imm, mask=None, dtype=None, **kwargs):
    """Replaces the first occurrence of each of eight values."""
    access = tile(data, "data")
    if math.prod(access.shape[1:]) > 16384 or len(access.shape) > 5:
        raise NkiError(
            "err_size_of_dimension_exceed_arch_limit",
            f"nisa.nc_match_replace8 of shape {data.shape}",
            limit="16384 elements, rank <= 5",
            actual=data.shape,
        )
    values = _eight(vals, "vals", "nisa.nc_match_replace8", access.shape[0])
    if result_type(data.dtype, dtype) != data.dtype:
        raise NkiError(
            "err_dtype_mismatch",
            "nisa.nc_match_replace8 works in place and can't change the dtype",
            limit=dtypes.name(data.dtype),
            actual=dtypes.name(dtypes.normalize(dtype)),
        )
    access = masked(access, mask)
    current().emit("nc_match_replace8", [access], [access, values], value=float_value(imm, "imm"))
    return data


def nc_stream_shuffle(src, dst, shuffle_mask, *, dtype=None, mask=None, **kwargs):
    """Permutes partitions inside each quadrant of 32."""
    target, source = tile(dst, "dst"), tile(src, "src")
    source = same_shape(target, source, "src")
    if target.shape[0] not in (32, 64, 96, 128):
        raise NkiError(
            "err_stream_shuffle_partitions",
            f"nisa.nc_stream_shuffle of {target.shape[0]} partitions",
            limit="32, 64, 96 or 128",
            actual=target.shape[0],
        )
    if src.dtype != dst.dtype:
        raise NkiError(
            "err_dtype_mismatch",
            f"src has dtype {dtypes.name(src.dtype)}, dst {dtypes.name(dst.dtype)}",
            limit="equal dtypes",
            actual=f"{dtypes.name(src.dtype)} and {dtypes.name(dst.dtype)}",
        )
    order = [int(v) for v in shuffle_mask]
    if len(order) != 32 or any(not (0 <= v < 32 or v == 255) for v in order):
        raise NkiError(
            "err_stream_shuffle_mask",
            f"shuffle_mask {order}",
            limit="32 entries of 0..31 or 255",
            actual=f"{len(order)} entries",
        )
    current().emit("nc_stream_shuffle", [masked(target, mask)], [masked(source, mask)], list=order)
    return dst


def dma_copy(
    *, dst, src, mask=None, dst_rmw_op=None, oob_mode=OobMode.error, dge_mode=DgeMode.unknown, **kwargs
):
    """Copy between HBM and SBUF by DMA."""
    accumulate = False
    if dst_rmw_op is not None:
        if op_name(dst_rmw_op, "nisa.dma_copy dst_rmw_op") != "add":
            raise NkiError(
                "err_unsupported_op", "nisa.dma_copy: dst_rmw_op", limit="np.add", actual=dst_rmw_op
            )
        if oob_mode is OobMode.skip:
            raise NkiError(
                "err_unsupported_argument",
                "nisa.dma_copy: dst_rmw_op needs oob_mode.error",
                limit="oob_mode.error",
                actual="oob_mode.skip",
            )
        accumulate = True
    return memory.dma_copy(dst=dst, src=src, mask=mask, accumulate=accumulate, skip=oob_mode is OobMode.skip)


def dma_transpose(src, *, mask=None, dtype=None, **kwargs):
    """Transpose by DMA."""
    if not isinstance(src, Tensor):
        raise NkiError("err_operand_type", f"nisa.dma_transpose takes a tensor, not {type(src).__name__}")
    return memory.dma_transpose(src, mask=mask, dtype=dtype)


def builtin_custom_op(
    function_name, lib_file_name, ulib_to_ucode_version, ulib_to_isa_version, srcs, dsts, **kwargs
):
    """Not available: it needs a prebuilt device library."""
    raise NkiError(
        "err_builtin_custom_op_not_supported",
        f"nisa.builtin_custom_op('{function_name}')",
        hint="device libraries can't be loaded here; write the operation with nisa calls",
    )
