"""Tensors' creation, and traffic between HBM and the chip."""

from __future__ import annotations

import math
import operator

import _nki
import numpy as np

from . import context, dtypes
from .access import masked, spread, squeeze_to
from .assign import fit_source, immutable, zero_fill
from .bits import check_writable
from .context import CONSTANT, HBM, INPUT, OPCODE, PSUM, SHARED_HBM, Access, Buffer, Instr, current
from .errors import NkiError, frame_location, user_frame
from .expr import Expr
from .placement import memory_of
from .tile import Tensor, check_scope, fresh, mark, memory_error, on_chip, partition_limit, settle

# A comprehension has a frame of its own and is still part of the function around it.
_COMPREHENSIONS = ("<listcomp>", "<genexpr>", "<dictcomp>", "<setcomp>")


# What ir/validate.h accepts.
_MAX_RANK, _MAX_ELEMENTS = 8, 1 << 32


class ParDim(int):
    """nl.par_dim(n): marks the partition axis in a shape."""


def _shape(shape: object) -> tuple[tuple, int]:
    items = tuple(shape) if isinstance(shape, (tuple, list)) else (shape,)
    axis = 0
    marked = [k for k, s in enumerate(items) if isinstance(s, ParDim)]
    if len(marked) > 1:
        raise NkiError("err_tensor_shape", f"shape {items} has more than one nl.par_dim")
    if marked:
        axis = marked[0]
    out = []
    for s in items:
        try:
            n = operator.index(s)
        except TypeError:
            raise NkiError(
                "err_tensor_shape",
                f"size {s!r} in a shape is not an integer",
                actual=s,
                hint="sizes are Python integers; use // instead of /",
            ) from None
        if n < 1:
            raise NkiError(
                "err_tensor_shape", f"a tensor can't have an axis of size {n}", limit="size >= 1", actual=n
            )
        out.append(n)
    if len(out) > _MAX_RANK or math.prod(out) > _MAX_ELEMENTS:
        raise NkiError(
            "err_tensor_shape",
            f"a tensor of shape {tuple(out)}",
            limit=f"{_MAX_RANK} axes and {_MAX_ELEMENTS} elements",
            actual=f"{len(out)} axes and {math.prod(out)} elements",
        )
    return tuple(out), axis


def declare(shape: object, dtype: object, buffer: object, name: str, what: str) -> tuple[Tensor, bool]:
    """A new uninitialised tensor; also tells whether it has a manual placement."""
    trace = current()
    name = str(name)
    sizes, axis = _shape(shape)
    kind = normalize_dtype(dtype, what)
    memory, placement = memory_of(buffer)
    frame = user_frame()
    loc = frame_location(frame)
    if not context.is_hbm(memory):
        if len(sizes) < 2:
            raise NkiError(
                "err_insufficient_rank",
                f"Insufficient rank: a tensor in {context.BUFFER_NAME[memory]} needs a partition axis and a "
                f"free axis, shape {sizes} has {len(sizes)}",
                limit="rank >= 2",
                actual=len(sizes),
                hint="use (P, 1) or (1, F)",
            )
        if sizes[axis] > 128:
            raise partition_limit(sizes[axis], f"a tensor of shape {sizes}")
        if axis == len(sizes) - 1 and axis > 0:
            raise NkiError(
                "err_insufficient_rank",
                f"shape {sizes} has no free axis behind its partition axis",
                limit="a free axis",
                actual=f"partition axis {axis} is the last",
                hint="add a free axis of size 1",
            )
        if axis > 0:
            trace.warn(
                "err_leading_dimension_of_tensor_must_be_partition",
                f"shape {sizes} has {axis} block axes in front of its partition axis; "
                "block dimensions are deprecated",
                hint="fold them into the free axes, or create one tile in each iteration",
                loc=loc,
            )
        if memory == PSUM:
            free = kind.itemsize
            for n in sizes[axis + 1 :]:
                free *= n
            bank = _nki.LIMITS["psum_bank_bytes"]
            if free > bank * _nki.LIMITS["psum_banks"]:
                raise NkiError(
                    "err_size_of_dimension_exceed_arch_limit",
                    f"a PSUM tile of shape {sizes} takes {free} bytes for each partition",
                    limit=f"{bank} bytes (one bank); the whole PSUM has {bank * 8}",
                    actual=f"{free} bytes",
                    hint="tile the free axis by 512 fp32 elements (nl.tile_size.psum_fmax)",
                )
    if memory == SHARED_HBM:
        _check_kernel_level(trace, frame)
    tensor = Tensor(_hbm_buffer(trace, memory, kind, sizes, name, axis, loc, frame))
    if placement is not None and not trace.auto_alloc:
        trace.manual = True
        if trace.scope is None or not trace.scope.repeated:
            placement.check(tensor.buffer)
        tensor.buffer.manual = placement
    return tensor, placement is not None


def _hbm_buffer(
    trace: object, memory: int, dtype: np.dtype, shape: tuple, name: str, axis: int, loc: tuple, frame: object
) -> Buffer:
    """HBM tensors at kernel level are one for all programs of the grid, also where the grid is unrolled."""
    shared = trace.hbm_by_ordinal
    if context.is_hbm(memory) and trace.scope is None and shared is not None:
        ordinal = trace.hbm_ordinal
        trace.hbm_ordinal += 1
        if ordinal < len(shared):
            return shared[ordinal]
        made = trace.new_buffer(memory, dtype, shape, name=name, declared=True)
        shared.append(made)
        return made
    return trace.new_buffer(
        memory, dtype, shape, name=name, partition_axis=axis, declared=True, loc=loc if name else None
    )


def _check_kernel_level(trace: object, frame: object) -> None:
    while frame is not None and frame.f_code.co_name in _COMPREHENSIONS:
        frame = frame.f_back
    where = ""
    if trace.scope is not None:
        where = "in a branch" if trace.scope.kind == "if" else f"inside loop '{trace.scope.name}'"
    elif trace.entry_code is not None and frame.f_code is not trace.entry_code:
        where = f"in function {frame.f_code.co_name}"
    if where:
        raise NkiError(
            "err_shared_hbm_must_in_kernel_level",
            f"a shared_hbm tensor is created {where}",
            hint="create outputs at the top level of the kernel function",
        )


def normalize_dtype(dtype: object, what: str) -> np.dtype:
    """The element type argument of a creation call."""
    if dtype is None:
        raise TypeError(f"{what} needs a dtype")
    return dtypes.normalize(dtype)


def ndarray(shape: object, dtype: object, *, buffer: object = None, name: str = "", **kwargs) -> Tensor:
    """nl.ndarray."""
    tensor, _ = declare(shape, dtype, buffer, name, "nl.ndarray")
    if tensor.buffer.buffer == PSUM:
        body = current().bodies[-1]
        tensor.buffer.lazy_zero = (body, body[-1] if body else None)
    return tensor


def full(
    shape: object,
    fill_value: object,
    dtype: object,
    *,
    buffer: object = None,
    name: str = "",
    what: str = "nl.full",
) -> Tensor:
    """nl.full, nl.zeros, nl.ones."""
    number = dtypes.scalar(fill_value)
    if number is None:
        raise NkiError("err_operand_type", f"{what} takes a number, not {type(fill_value).__name__}")
    memory, _ = memory_of(buffer)
    if context.is_hbm(memory):
        raise NkiError(
            "err_hbm_tensor_with_init_value_not_supported",
            f"{what} can't create a tensor in {context.BUFFER_NAME[memory]}",
            limit="sbuf or psum",
            actual=context.BUFFER_NAME[memory],
            hint="create it with nl.ndarray and fill it with nl.store",
        )
    tensor, manual = declare(shape, dtype, buffer, name, what)
    if manual and not current().auto_alloc:
        raise NkiError(
            "err_tensor_creation_on_scratchpad_with_init_value_not_supported",
            f"{what} with a manually allocated buffer",
            hint="create it with nl.ndarray, then nisa.memset or compute into it",
        )
    body = current().bodies[-1]
    for node in zero_fill(tensor.buffer, tensor.buffer.loc, number[0]):
        if isinstance(node, Instr):
            node.body = body
        body.append(node)
    return tensor


def constant(value: object, dtype: object = None) -> Tensor:
    """nl.shared_constant: compile-time data."""
    trace = current()
    array = np.asarray(value)
    kind = dtypes.normalize(
        array.dtype if dtype is None and array.dtype != np.float64 else dtype or np.float32
    )
    if array.ndim == 0:
        array = array.reshape(1)
    data = np.ascontiguousarray(array.astype(np.float32 if kind == dtypes.tfloat32 else kind))
    if data.nbytes > 16 << 20:
        raise NkiError(
            "err_constant_too_large", f"a constant of {data.nbytes} bytes", limit="16 MiB", actual=data.nbytes
        )
    buffer = trace.new_buffer(HBM, kind, tuple(array.shape), role=CONSTANT, constant=data.tobytes())
    buffer.scope = None
    return Tensor(buffer)


# ---- HBM tiles as operands ---------------------------------------------------------------------------------


def hbm_access(tensor: Tensor, what: str, mask: object = None, *, allow_runtime: bool = True) -> Access:
    """A tile of an HBM tensor (rank >= 2 like the on-chip side), with its run-time index."""
    if not context.is_hbm(tensor.buffer.buffer):
        raise memory_error(tensor, what, "hbm")
    if tensor.from_grid:
        raise NkiError(
            "err_indirect_indices_free_dim",
            f"{what}: a run-time index and an nl.mgrid index in one subscript of tensor "
            f"'{tensor.buffer.name}'",
            hint="build the other indices with nl.arange, or use nisa.dma_copy",
        )
    return any_access(tensor, what, mask, allow_runtime=allow_runtime)


def any_access(tensor: Tensor, what: str, mask: object = None, *, allow_runtime: bool = True) -> Access:
    """An operand of a DMA: a tile of any memory, possibly with a run-time index."""
    check_scope(tensor.buffer)
    settle(tensor)
    if not context.is_hbm(tensor.buffer.buffer):
        if tensor.runtime is None:
            return masked(on_chip(tensor, what), mask)
        plain = Tensor(tensor.buffer, tensor.shape, tensor.index, tensor.mask)
        access = on_chip(plain, what)
    else:
        shape, index, conditions = tensor.shape, tensor.index, tensor.mask
        missing = 2 - len(shape)
        if missing > 0:
            shape = shape + (1,) * missing
            pad = (0,) * missing
            index = tuple(Expr(e.const, e.terms, shape, e.coefs + pad) for e in index)
            conditions = tuple(Expr(e.const, e.terms, shape, e.coefs + pad) for e in conditions)
        access = Access(tensor.buffer, shape, index, conditions)
    if tensor.runtime is not None:
        if not allow_runtime:
            raise NkiError("err_indirect_indices_free_dim", f"operand {what} can't have a run-time index")
        axis, tile = tensor.runtime
        runtime = on_chip(tile, "index")
        if len(runtime.shape) > 2:
            runtime = squeeze_to(runtime, (runtime.shape[0], 1)) or runtime
        if runtime.shape[0] not in (1, access.shape[0]):
            raise NkiError(
                "err_indirect_indices_free_dim",
                f"run-time index of shape {tile.shape} for a tile of shape {access.shape}",
                limit=f"({access.shape[0]}, 1)",
                actual=tile.shape,
                hint="the run-time index must lie on the partition axis of the tile",
            )
        runtime = spread(runtime, access.shape)
        access = Access(
            access.buffer, access.shape, access.index, access.mask, axis, runtime.buffer, runtime.index
        )
    return masked(access, mask)


def load(src: object, *, mask: object = None, dtype: object = None, transpose: bool = False) -> Tensor:
    """nl.load: a tile of an HBM tensor into SBUF."""
    if not isinstance(src, Tensor):
        raise NkiError("err_operand_type", f"nl.load takes an HBM tensor, not {type(src).__name__}")
    access = hbm_access(src, "src of nl.load", mask)
    if access.shape[0] > 128:
        error = partition_limit(
            access.shape[0], f"nl.load of a tile of '{src.buffer.name}' with shape {src.shape}"
        )
        if len(src.shape) == 1:
            error.hint = f"an axis alone runs over partitions; load a row: .reshape((1, {src.shape[0]}))"
        raise error
    result = fresh(access.shape, src.dtype if dtype is None else dtypes.normalize(dtype))
    instr = current().emit("dma_copy", [masked(on_chip(result, "dst"), mask)], [access])
    return mark(result, instr)


def load_transpose2d(src: object, *, mask: object = None, dtype: object = None) -> Tensor:
    """nl.load_transpose2d: [N, M] in HBM becomes [M, N] in SBUF."""
    if not isinstance(src, Tensor):
        raise NkiError(
            "err_operand_type", f"nl.load_transpose2d takes an HBM tensor, not {type(src).__name__}"
        )
    if src.runtime is not None:
        raise NkiError(
            "err_indirect_indices_are_not_supported_with_nki_api",
            "nl.load_transpose2d can't take run-time indices",
            hint="load, then transpose on chip",
        )
    access = hbm_access(src, "src of nl.load_transpose2d", mask)
    if len(access.shape) != 2:
        raise NkiError(
            "err_exceed_max_supported_dimension",
            f"nl.load_transpose2d of a tile of shape {src.shape}",
            limit="rank 2",
            actual=len(access.shape),
            hint="index down to two axes",
        )
    return _transposed_dma(src, access, (1, 0), dtype, masked_dst=mask is not None)


def _transposed_dma(src: Tensor, access: Access, order: tuple, dtype: object, masked_dst: bool) -> Tensor:
    from .access import apply

    shape = tuple(access.shape[d] for d in order)
    if shape[0] > 128:
        raise partition_limit(shape[0], f"the transposed tile of '{src.buffer.name}'")
    mapping = [order.index(d) for d in range(len(order))]
    moved = apply(access, mapping, shape)
    result = fresh(shape, src.dtype if dtype is None else dtypes.normalize(dtype))
    dst = on_chip(result, "dst")
    if masked_dst:
        dst = dst.with_mask(moved.mask)
    return mark(result, current().emit("dma_transpose", [dst], [moved]))


def dma_transpose(src: object, *, mask: object = None, dtype: object = None) -> Tensor:
    """nisa.dma_transpose: rank 2 [1,0], rank 3 [2,1,0], rank 4 [3,1,2,0]."""
    access = any_access(src, "src", mask, allow_runtime=False)
    order = {2: (1, 0), 3: (2, 1, 0), 4: (3, 1, 2, 0)}.get(len(access.shape))
    if order is None:
        raise NkiError(
            "err_exceed_max_supported_dimension",
            f"nisa.dma_transpose of a tile of shape {src.shape}",
            limit="rank 2, 3 or 4",
            actual=len(access.shape),
        )
    if not context.is_hbm(src.buffer.buffer):
        # An on-chip tile walks its partitions with dimension 0, so the turned side must be the destination in
        # HBM.
        from .matmul import transpose_tile

        return transpose_tile(src, dtype=dtype, mask=mask)
    return _transposed_dma(src, access, order, dtype, masked_dst=mask is not None)


def gathered_as(value: Tensor, shape: tuple) -> Tensor:
    """The result of nisa.local_gather under the shape that its reader gives it: it is one row of elements for
    each partition, and the SDK does not document the axes of that row.
    """
    if value.producer is None or value.producer[0].op != OPCODE["local_gather"]:
        return value
    same = value.shape[:1] == tuple(shape[:1]) and math.prod(value.shape) == math.prod(shape)
    return value.reshape(shape) if same else value


def store(dst: object, value: object, *, mask: object = None) -> None:
    """nl.store: a tile or a number into a tile of an HBM tensor."""
    if not isinstance(dst, Tensor):
        raise NkiError("err_operand_type", f"nl.store takes an HBM tensor, not {type(dst).__name__}")
    if not context.is_hbm(dst.buffer.buffer):
        raise memory_error(dst, "dst of nl.store", "hbm")
    if dst.buffer.storage().role == INPUT and not dst.buffer.storage().mutable:
        raise immutable(dst)
    if dst.buffer.storage().role == CONSTANT:
        raise immutable(dst)
    number = dtypes.scalar(value)
    if number is None and isinstance(value, Expr):
        from .elementwise import index_tile

        value = index_tile(value)
    if len(dst.shape) == 1 and isinstance(value, Tensor) and value.shape == (1, *dst.shape):
        dst = dst.reshape((1, dst.shape[0]))  # a row goes into a vector as it stands
    target = hbm_access(dst, "dst of nl.store", mask)
    if number is not None:
        current().emit("dma_copy", [target], [(number[0], dtypes.number(dst.dtype))])
        return
    if not isinstance(value, Tensor):
        raise NkiError("err_operand_type", f"nl.store can't store a {type(value).__name__}")
    if context.is_hbm(value.buffer.buffer):
        raise memory_error(value, "value of nl.store", "psum|sbuf")
    value = gathered_as(value, dst.shape)
    access = on_chip(value, "value")
    source = squeeze_to(access, target.shape)
    if source is None:
        source = fit_source(access, target.shape, dst, value)
    current().emit(
        "dma_copy",
        [target],
        [source.with_mask(masked(Access(source.buffer, source.shape, source.index), mask).mask)],
    )


def dma_copy(
    *, dst: Tensor, src: Tensor, mask: object = None, accumulate: bool = False, skip: bool = False
) -> Tensor:
    """nisa.dma_copy."""
    for what, t in (("dst", dst), ("src", src)):
        if not isinstance(t, Tensor):
            raise NkiError(
                "err_operand_type", f"nisa.dma_copy {what} is a {type(t).__name__}", limit="a tensor"
            )
        if t.buffer.buffer == PSUM:
            raise memory_error(t, f"{what} of nisa.dma_copy", "hbm|sbuf")
    check_writable(dst)
    storage = dst.buffer.storage()
    if storage.role in (INPUT, CONSTANT) and not storage.mutable:
        raise immutable(dst)
    target = any_access(dst, "dst", mask)
    source = any_access(src, "src", mask)
    fitted = squeeze_to(source, target.shape)
    if fitted is None:
        fitted = fit_source(source, target.shape, dst, src)
    attrs: dict = {}
    if accumulate:
        attrs["op0"] = _nki.ALU_OPS["add"][0]
    if skip:
        attrs["oob"] = 1
    current().emit("dma_copy", [target], [fitted], **attrs)
    return dst


def atomic_rmw(dst: Tensor, value: object, *, mask: object = None) -> None:
    """nl.atomic_rmw with np.add."""
    if not isinstance(dst, Tensor) or not context.is_hbm(dst.buffer.buffer):
        raise NkiError("err_unsupported_memory", "nl.atomic_rmw works on HBM tensors", limit="hbm")
    if dst.runtime is None:
        raise NkiError(
            "err_atomic_rmw_needs_indirect_index",
            "nl.atomic_rmw needs a run-time index",
            hint="index the partition axis with a [P, 1] integer tile",
        )
    storage = dst.buffer.storage()
    if storage.role == INPUT and not storage.mutable:
        raise immutable(dst)
    target = hbm_access(dst, "dst", mask)
    source = fit_source(on_chip(value, "value"), target.shape, dst, value)
    current().emit("dma_copy", [target], [masked(source, mask)], op0=_nki.ALU_OPS["add"][0])
