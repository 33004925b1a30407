"""Assignment into tensors: `t[...] = value` and `t += value`.

Where the value is the result of an instruction that nothing else has used, the instruction writes into t
itself, with the cast; otherwise a copy is made. If the result is used again later, the redirection is
undone at that moment.
"""

from __future__ import annotations

from . import context, dtypes
from .access import spread, squeeze_to
from .bits import check_writable
from .context import OP_NAME, OPCODE, PSUM, SBUF, Access, Instr, current
from .errors import NkiError
from .expr import Expr
from .tile import Tensor, check_scope, memory_error, on_chip

# Instructions that can write to PSUM only, and those that can't write to it.
_PSUM_ONLY = {OPCODE["nc_matmul"]}
_SBUF_ONLY = {
    OPCODE[n]
    for n in (
        "tensor_partition_reduce",
        "iota",
        "affine_select",
        "local_gather",
        "rng",
        "dma_copy",
        "dma_transpose",
        "partition_broadcast",
    )
}
_FIXED_TYPE = {
    OPCODE["nc_stream_shuffle"],
    OPCODE["tensor_copy_predicated"],
    OPCODE["local_gather"],
    OPCODE["nc_match_replace8"],
}


def _shape_error(target: Tensor, value_shape: tuple) -> NkiError:
    return NkiError(
        "err_store_dst_shape_smaller_than_other_shape",
        f"a value of shape {value_shape} does not fit the destination '{target.buffer.name}' of shape "
        f"{target.shape}",
        limit=target.shape,
        actual=value_shape,
        hint="match the shapes; the source may be broadcast to the destination, not the reverse",
    )


def fit_source(source: Access, shape: tuple, target: Tensor, value: Tensor) -> Access:
    """The source tile under the destination's shape, broadcast if it is smaller."""
    same = squeeze_to(source, shape)
    if same is not None:
        return same
    try:
        return spread(source, shape)
    except NkiError:
        raise _shape_error(target, value.shape) from None


def assign(tensor: Tensor, subscript: object, value: object) -> None:
    """tensor[subscript] = value."""
    target = tensor[subscript]
    check_writable(target)
    if context.is_hbm(tensor.buffer.buffer):
        if tensor.buffer.role == context.INPUT and not tensor.buffer.mutable:
            raise immutable(tensor)
        error = memory_error(tensor, "dst", "psum|sbuf")
        error.hint = "write to HBM with nl.store(dst, value)"
        raise error
    if isinstance(value, Tensor):
        if value.in_place and value.buffer is target.buffer:
            value.in_place = False
            return
        if context.is_hbm(value.buffer.buffer):
            raise memory_error(value, "value", "psum|sbuf")
        if value.pending is not None:
            _assign_loop_reduce(target, value)
            return
        if value.producer is not None and _redirect(target, value):
            return
        copy_into(target, value)
        return
    number = dtypes.scalar(value)
    if number is None and isinstance(value, Expr):
        if not value.shape and value.is_constant():
            number = (float(value.const), dtypes.int32)
        else:
            from .elementwise import index_tile

            assign(tensor, subscript, index_tile(value))
            return
    if number is None:
        raise NkiError(
            "err_operand_type",
            f"{type(value).__name__} can't be assigned to tensor '{target.buffer.name}'",
            limit="a tile or a number",
            actual=type(value).__name__,
        )
    memset(on_chip(target, "dst"), number[0])


def memset(dst: Access, value: float, loc: tuple | None = None) -> Instr:
    """Fills a tile."""
    return current().emit("memset", [dst], [], value=value, loc=loc)


def immutable(tensor: Tensor) -> NkiError:
    """Writing to an argument."""
    return NkiError(
        "err_cannot_update_immutable_parameter",
        f"kernel parameter '{tensor.buffer.name}' can't be written to",
        hint="create an output with nl.ndarray(..., buffer=nl.shared_hbm), store to it and return it",
    )


def copy_into(target: Tensor, value: Tensor, mask: tuple = ()) -> None:
    """target = value by an instruction of its own."""
    producer_mask = ()
    if value.producer is not None:
        written = value.producer[0].dst[value.producer[1]]
        if written.shape == on_chip_shape(value):
            producer_mask = written.mask
    source = on_chip(value, "value")
    dst = on_chip(target, "dst")
    source = fit_source(source, dst.shape, target, value)
    if producer_mask:
        keep = Access(value.buffer, producer_mask[0].shape, source.index, producer_mask)
        producer_mask = keep.mask if source.shape == producer_mask[0].shape else ()
    dst = dst.with_mask(producer_mask + mask)
    source = source.with_mask(producer_mask + mask)
    if dst.shape[0] != source.shape[0]:
        raise _shape_error(target, value.shape)
    if (
        source.index[value.buffer.partition_axis].coefs[0] == 0
        and dst.shape[0] > 1
        and value.shape[:1] == (1,)
    ):
        raise _shape_error(target, value.shape)
    current().emit("tensor_copy", [dst], [source])


def on_chip_shape(value: Tensor) -> tuple:
    """The shape a tile has as an operand, without using it."""
    shape = value.shape
    return shape if len(shape) >= 2 else shape + (1,) * (2 - len(shape))


def _redirect(target: Tensor, value: Tensor) -> bool:
    """Makes the instruction behind `value` write to `target`; False if that is not possible."""
    trace = current()
    instr, position = value.producer
    check_scope(value.buffer)
    if instr.body is not trace.bodies[-1]:
        return False
    dst = on_chip(target, "dst")
    own = instr.dst[position]
    if own.index and value.buffer is not own.buffer:
        return False
    if not _can_write(instr, dst) or dst.mask and own.shape != dst.shape:
        return False
    fitted = squeeze_to(dst, own.shape)
    if fitted is None:
        return False
    storage = target.buffer.storage()
    at = len(instr.body) - 1
    while instr.body[at] is not instr:
        other = instr.body[at]
        if not isinstance(other, Instr) or other.touches(storage):
            return False
        at -= 1
    instr.dst[position] = fitted.with_mask(own.mask)

    def undo() -> None:
        written = instr.dst[position]
        instr.dst[position] = own
        where = place_of(instr, instr.body)
        source = Access(own.buffer, own.shape, own.index, written.mask)
        copy = Instr(OPCODE["tensor_copy"], 0, [written], [source], {}, instr.loc, instr.body)
        instr.body.insert(where + 1, copy)

    value.redirect = undo
    value.producer = None
    return True


def place_of(node: object, body: list) -> int:
    """Where a node stands in a loop body; looked for from the end, near which it usually is."""
    at = len(body) - 1
    while body[at] is not node:
        at -= 1
    return at


def _can_write(instr: Instr, dst: Access) -> bool:
    """Whether the instruction may have this destination."""
    in_psum = dst.buffer.buffer == PSUM
    if instr.op in _PSUM_ONLY and not in_psum or instr.op in _SBUF_ONLY and in_psum:
        return False
    if OP_NAME[instr.op] == "nc_transpose" and instr.engine in (0, _tensor_engine()) and not in_psum:
        return False
    if instr.engine == _gpsimd_engine() and in_psum:
        return False
    own = instr.dst[0].buffer.dtype
    if dst.buffer.dtype != own:
        if instr.op in _FIXED_TYPE:
            return False
        op = instr.attrs.get("op0", 0)
        if op in _BITVEC and not dtypes.is_integer(dst.buffer.dtype):
            return False
    return True


def _tensor_engine() -> int:
    import _nki

    return _nki.ENGINES["tensor"]


def _gpsimd_engine() -> int:
    import _nki

    return _nki.ENGINES["gpsimd"]


def _bitvec_ops() -> set:
    import _nki

    return {row[0] for row in _nki.ALU_OPS.values() if row[2]}


_BITVEC = _bitvec_ops()


def _assign_loop_reduce(target: Tensor, value: Tensor) -> None:
    """t[...] = nl.loop_reduce(x, op, ...): t = op(t, x) in every iteration."""
    from .elementwise import binary

    op, x, mask, _ = value.pending
    result = binary(op, target, x, dtype=target.dtype, mask=mask)
    if not _redirect_in_place(target, result):
        copy_into(target, result)


def _redirect_in_place(target: Tensor, result: Tensor) -> bool:
    """Like _redirect, for an instruction that also reads the target at the same positions."""
    if result.producer is None:
        return False
    instr, position = result.producer
    dst = squeeze_to(on_chip(target, "dst"), instr.dst[position].shape)
    if dst is None or not _can_write(instr, dst):
        return False
    instr.dst[position] = dst.with_mask(instr.dst[position].mask)
    result.producer = None
    return True


def update(op: str, target: Tensor, value: object) -> Tensor:
    """target op= value, in place."""
    from .elementwise import binary

    check_writable(target)
    if context.is_hbm(target.buffer.buffer):
        if target.buffer.role == context.INPUT:
            raise immutable(target)
        raise memory_error(target, "dst", "psum|sbuf")
    if op == "add" and isinstance(value, Tensor) and value.producer is not None:
        if _accumulate(target, value):
            target.in_place = True
            return target
    result = binary(op, target, value, dtype=target.dtype, operator=True)
    if result.shape != target.shape and on_chip_shape(result) != on_chip_shape(target):
        raise _shape_error(target, result.shape)
    if not _redirect_in_place(target, result):
        copy_into(target, result)
    target.in_place = True
    return target


def _accumulate(target: Tensor, value: Tensor) -> bool:
    """psum += matmul(...): the matmul adds to its destination."""
    instr, position = value.producer
    if instr.op != OPCODE["nc_matmul"] or target.buffer.buffer != PSUM or instr.attrs.get("accumulate"):
        return False
    own = instr.dst[position]
    if not _redirect(target, value):
        return False
    instr.attrs["accumulate"] = True
    need_zero(target.buffer.storage())
    redirected = value.redirect

    def undo() -> None:
        # The product is needed by itself: it keeps its own PSUM tile and is added from SBUF.
        written = instr.dst[position]
        instr.attrs.pop("accumulate")
        instr.dst[position] = own
        where = place_of(instr, instr.body)
        trace = current()
        temporary = Tensor(trace.new_buffer(SBUF, dtypes.float32, own.shape, name="product", loc=instr.loc))
        middle = on_chip(temporary, "product")
        copy = Instr(OPCODE["tensor_copy"], 0, [middle], [own], {}, instr.loc, instr.body)
        add = Instr(
            OPCODE["tensor_tensor"], 0, [written], [written, middle], {"op0": _add()}, instr.loc, instr.body
        )
        instr.body[where + 1 : where + 1] = [copy, add]

    if redirected is not None:
        value.redirect = undo
    return True


def _add() -> int:
    import _nki

    return _nki.ALU_OPS["add"][0]


def need_zero(storage: context.Buffer) -> None:
    """An accumulation target that nl.zeros did not clear starts from zero where it was created: the first
    product of an accumulation group overwrites.
    """
    if storage.lazy_zero is not None:
        body, at_instr = storage.lazy_zero
        storage.lazy_zero = None
        instrs = zero_fill(storage, storage.loc)
        where = 0 if at_instr is None else place_of(at_instr, body) + 1
        for n in instrs:
            if isinstance(n, Instr):
                n.body = body
        body[where:where] = instrs


def zero_fill(storage: context.Buffer, loc: tuple, value: float = 0.0) -> list:
    """Instructions that fill a whole on-chip tensor, one memset under a loop for each block axis."""
    trace = current()
    axis = storage.partition_axis
    tile_shape = storage.shape[axis:]
    if len(tile_shape) < 2:
        tile_shape = tile_shape + (1,)
    rank = len(tile_shape)
    inner: list = []
    outer = inner
    index = []
    for k in range(axis):
        if storage.shape[k] == 1:
            index.append(Expr(0, (), tile_shape, (0,) * rank))
            continue
        symbol = trace.loop_symbol(f"block{k}", ("block", storage.name, k), 0, storage.shape[k] - 1)
        loop = context.Loop(symbol, context.AFFINE, 0, 1, storage.shape[k], loc)
        inner.append(loop)
        inner = loop.body
        index.append(Expr(0, ((symbol, 1),), tile_shape, (0,) * rank))
    for k in range(axis, len(storage.shape)):
        d = k - axis
        index.append(
            Expr(0, (), tile_shape, tuple(1 if i == d and tile_shape[d] > 1 else 0 for i in range(rank)))
        )
    instr = Instr(
        OPCODE["memset"], 0, [Access(storage, tile_shape, tuple(index))], [], {"value": value}, loc, inner
    )
    inner.append(instr)
    return outer
