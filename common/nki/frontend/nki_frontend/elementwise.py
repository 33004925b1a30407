"""Element-wise nl functions: which instruction computes each, with NumPy broadcasting."""

from __future__ import annotations

import _nki
import numpy as np

from . import context, dtypes
from .access import apply, broadcast_shape, masked, partition_mismatch, spread
from .context import PSUM, Access, Instr, current
from .errors import NkiError
from .expr import Expr
from .tile import Tensor, fresh, mark, memory_error, on_chip

ALU = {name: row[0] for name, row in _nki.ALU_OPS.items()}
_COMPARISONS = {name for name, row in _nki.ALU_OPS.items() if row[3]}
_BITVEC = {name for name, row in _nki.ALU_OPS.items() if row[2]}
_VECTOR, _GPSIMD, _SCALAR, _TENSOR = (_nki.ENGINES[n] for n in ("vector", "gpsimd", "scalar", "tensor"))
ACT = {name: row[0] for name, row in _nki.ACT_FNS.items()}


def engine_for(op: str) -> int:
    """The engine to name for an operator: none if the Vector engine, the default, computes it."""
    engines = _nki.ALU_OPS[op][6]
    return 0 if _VECTOR in engines or not engines else _GPSIMD


def emit(op: str, dst: list, src: list, **attrs: object) -> Instr:
    """An instruction of an nl function."""
    instr = current().emit(op, dst, src, **attrs)
    instr.splittable = True
    return instr


def _operand(value: object, what: str) -> object:
    """A tile or (value, dtype); index expressions become tiles later, when the partition count is known."""
    if isinstance(value, Tensor):
        if context.is_hbm(value.buffer.buffer):
            raise memory_error(value, what, "psum|sbuf")
        return value
    number = dtypes.scalar(value)
    if number is not None:
        return number
    if isinstance(value, Expr):
        if value.is_constant() and not value.shape:
            return (float(value.const), dtypes.int32)
        return value
    raise NkiError(
        "err_operand_type",
        f"operand {what} is a {type(value).__name__}",
        limit="a tile or a number",
        actual=type(value).__name__,
    )


def index_tile(e: Expr, partitions: int = 1, dtype: np.dtype = dtypes.int32) -> Tensor:
    """The values of an index expression as a tile."""
    shape = e.shape
    if not shape:
        shape, coefs = (partitions, 1), (0, 0)
    elif len(shape) == 1:
        shape, coefs = (1,) + shape, (0,) + e.coefs
    else:
        coefs = e.coefs
    result = fresh(shape, dtype, name="index")
    instr = current().emit("iota", [on_chip(result, "dst")], [], expr=Expr(e.const, e.terms, shape, coefs))
    return mark(result, instr)


def _to_sbuf(access: Access) -> Access:
    """A copy in SBUF: the compiler adds it where an engine can't read PSUM."""
    temporary = fresh(access.shape, access.buffer.dtype, name=f"{access.buffer.name}_sbuf")
    dst = on_chip(temporary, "dst").with_mask(access.mask)
    emit("tensor_copy", [dst], [access])
    return on_chip(temporary, "src")


def _result_shape(shape: tuple, *origins: Tensor) -> tuple:
    """Shape the kernel sees: as the operand's where that has the same elements."""
    return shape


def binary(
    op: str, x: object, y: object, *, dtype: object = None, mask: object = None, operator: bool = False
) -> Tensor:
    """x op y. `operator`: written as `x + y`, which does not broadcast over partitions."""
    a, b = _operand(x, "x"), _operand(y, "y")
    if not isinstance(a, (Tensor, Expr)) and not isinstance(b, (Tensor, Expr)):
        raise NkiError(
            "err_operand_type", f"nl.{op} needs at least one tile operand", hint="compute with Python numbers"
        )
    if isinstance(a, Expr):
        a = index_tile(a, _partitions(b))
    if isinstance(b, Expr):
        b = index_tile(b, _partitions(a))
    type_a = a.dtype if isinstance(a, Tensor) else a[1]
    type_b = b.dtype if isinstance(b, Tensor) else b[1]
    if dtype is not None:
        out = dtypes.normalize(dtype)
    elif op in _COMPARISONS:
        out = dtypes.bool_
    else:
        out = dtypes.promote(type_a, type_b)
        if op == "divide" and not dtypes.is_float(out):
            out = dtypes.float32  # a quotient of integers is no integer
    if op in _BITVEC:
        for _, kind in ((a, type_a), (b, type_b)):
            if not dtypes.is_integer(kind) and kind != dtypes.bool_:
                raise NkiError(
                    "err_bitvec_operand_type",
                    f"nl.{op} works on integers, not {dtypes.name(kind)}",
                    limit="integer dtypes",
                    actual=dtypes.name(kind),
                    hint="cast with .astype(nl.int32)",
                )
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        return _tile_tile(op, a, b, out, mask, operator)
    reverse = isinstance(b, Tensor)
    tile, constant = (b, a) if reverse else (a, b)
    data = on_chip(tile, "y" if reverse else "x")
    return _tensor_scalar(op, data, (float(constant[0]), dtypes.number(constant[1])), out, mask, reverse)


def _partitions(other: object) -> int:
    if not isinstance(other, Tensor):
        return 1
    return other.shape[0] if other.shape else 1


def _tensor_scalar(
    op: str, data: Access, operand: object, out: np.dtype, mask: object, reverse: bool
) -> Tensor:
    engine = engine_for(op)
    if engine == _GPSIMD:
        data = _to_sbuf(data) if data.buffer.buffer == PSUM else data
        if isinstance(operand, Access) and operand.buffer.buffer == PSUM:
            operand = _to_sbuf(operand)
    result = fresh(data.shape, out)
    attrs = {"op0": ALU[op]}
    if reverse:
        attrs["reverse0"] = True
    instr = emit(
        "tensor_scalar",
        [masked(on_chip(result, "dst"), mask), None],
        [masked(data, mask), operand, None],
        engine=engine,
        **attrs,
    )
    return mark(result, instr)


def _tile_tile(op: str, a: Tensor, b: Tensor, out: np.dtype, mask: object, operator: bool) -> Tensor:
    left, right = on_chip(a, "x"), on_chip(b, "y")
    if left.shape[0] != right.shape[0]:
        narrow = min(left.shape[0], right.shape[0])
        if operator or narrow != 1:
            raise partition_mismatch("y", right.shape[0], left.shape[0])
    if left.shape != right.shape:
        shape = broadcast_shape(left.shape, right.shape)
        if shape is None:
            raise NkiError(
                "err_shape_mismatch",
                f"tiles of shapes {a.shape} and {b.shape} can't be broadcast",
                limit=a.shape,
                actual=b.shape,
                hint="free axes must be equal or 1",
            )
        left, right = _widen(left, shape), _widen(right, shape)
        per_partition = _one_per_partition(right), _one_per_partition(left)
        if per_partition[0] and left.shape == shape:
            return _tensor_scalar(op, left, _column(right), out, mask, False)
        if per_partition[1] and right.shape == shape:
            return _tensor_scalar(op, right, _column(left), out, mask, True)
        left, right = spread(left, shape), spread(right, shape)
    engine = engine_for(op)
    if left.buffer.buffer == PSUM and (right.buffer.buffer == PSUM or engine == _GPSIMD):
        left = _to_sbuf(left)
    if right.buffer.buffer == PSUM and engine == _GPSIMD:
        right = _to_sbuf(right)
    result = fresh(left.shape, out)
    instr = emit(
        "tensor_tensor",
        [masked(on_chip(result, "dst"), mask)],
        [masked(left, mask), masked(right, mask)],
        engine=engine,
        op0=ALU[op],
    )
    return mark(result, instr)


def _widen(access: Access, shape: tuple) -> Access:
    """Copies one partition to all where the result has more."""
    if access.shape[0] == shape[0]:
        return access
    wide = (shape[0],) + access.shape[1:]
    result = fresh(wide, access.buffer.dtype, name=f"{access.buffer.name}_bcast")
    dst = on_chip(result, "dst")
    current().emit("partition_broadcast", [dst], [access])
    return dst


def _one_per_partition(access: Access) -> bool:
    return all(n == 1 for n in access.shape[1:])


def _column(access: Access) -> Access:
    return apply(access, [0] + [None] * (len(access.shape) - 1), (access.shape[0], 1))


def unary(fn: str, x: object, *, dtype: object = None, mask: object = None) -> Tensor:
    """An activation function on the Scalar engine."""
    x = as_tile(x, "x")
    data = on_chip(x, "x")
    result = fresh(data.shape, x.dtype if dtype is None else dtypes.normalize(dtype))
    instr = emit(
        "activation",
        [masked(on_chip(result, "dst"), mask), None],
        [masked(data, mask), None, (1.0, dtypes.number(dtypes.float32))],
        act=ACT[fn],
    )
    return mark(result, instr)


def as_tile(x: object, what: str) -> Tensor:
    """A tile operand; an index expression is made one."""
    if isinstance(x, Expr):
        return index_tile(x)
    if not isinstance(x, Tensor):
        raise NkiError(
            "err_operand_type",
            f"operand {what} is a {type(x).__name__}",
            limit="a tile",
            actual=type(x).__name__,
        )
    return x


def scalar_op(
    op: str, x: object, constant: float, *, dtype: object = None, mask: object = None, reverse: bool = False
) -> Tensor:
    """x op constant with the tile's own dtype as the default result."""
    x = as_tile(x, "x")
    out = x.dtype if dtype is None else dtypes.normalize(dtype)
    kind = x.dtype if dtypes.is_integer(x.dtype) and op in _BITVEC else dtypes.float32
    return _tensor_scalar(op, on_chip(x, "x"), (constant, dtypes.number(kind)), out, mask, reverse)


def reciprocal(x: object, *, dtype: object = None, mask: object = None) -> Tensor:
    """1 / x at the Vector engine's precision."""
    x = as_tile(x, "x")
    data = on_chip(x, "x")
    result = fresh(data.shape, x.dtype if dtype is None else dtypes.normalize(dtype))
    instr = emit("reciprocal", [masked(on_chip(result, "dst"), mask)], [masked(data, mask)])
    return mark(result, instr)


def copy(src: object, *, mask: object = None, dtype: object = None, engine: int = 0) -> Tensor:
    """A new tile in SBUF with the same values."""
    src = as_tile(src, "src")
    data = on_chip(src, "src")
    if engine == _GPSIMD and data.buffer.buffer == PSUM:
        raise memory_error(src, "src on gpsimd_engine", "sbuf")
    result = fresh(data.shape, src.dtype if dtype is None else dtypes.normalize(dtype))
    instr = emit("tensor_copy", [masked(on_chip(result, "dst"), mask)], [masked(data, mask)], engine=engine)
    return mark(result, instr)


def where(condition: object, x: object, y: object, *, dtype: object = None, mask: object = None) -> Tensor:
    """condition ? x : y, with a tile as condition and tiles or numbers as choices."""
    if not isinstance(condition, Tensor):
        raise NkiError(
            "err_operand_type",
            f"the condition of nl.where is a {type(condition).__name__}",
            limit="a tile of booleans or integers",
            actual=type(condition).__name__,
            hint="for conditions on indices use nisa.affine_select or mask=",
        )
    a, b = _operand(x, "x"), _operand(y, "y")
    tiles = [condition] + [v for v in (a, b) if isinstance(v, Tensor)]
    shape = on_chip(tiles[0], "condition").shape
    for t in tiles[1:]:
        both = broadcast_shape(shape, on_chip(t, "operand").shape)
        if both is None:
            raise NkiError(
                "err_shape_mismatch", f"nl.where on shapes {shape} and {t.shape}", limit=shape, actual=t.shape
            )
        shape = both
    types = [v.dtype if isinstance(v, Tensor) else v[1] for v in (a, b)]
    out = dtypes.promote(*types) if dtype is None else dtypes.normalize(dtype)
    result = fresh(shape, out)
    dst = masked(on_chip(result, "dst"), mask)
    if isinstance(b, Tensor):
        emit("tensor_copy", [dst], [masked(spread(_widen(on_chip(b, "y"), shape), shape), mask)])
    else:
        emit("memset", [dst], [], value=b[0])
    flag = condition
    if flag.dtype not in (dtypes.uint8, dtypes.bool_, dtypes.uint32, np.dtype(np.uint16)):
        flag = scalar_op("not_equal", flag, 0.0, dtype=dtypes.uint8, mask=mask)
    predicate = masked(spread(_widen(on_chip(flag, "condition"), shape), shape), mask)
    if isinstance(a, Tensor):
        if a.dtype != out:
            a = copy(a, dtype=out, mask=mask)
        source = _widen(on_chip(a, "x"), shape)
        if source.buffer.buffer == PSUM and predicate.buffer.buffer == PSUM:
            source = _to_sbuf(source)
        choice: object = masked(spread(source, shape), mask)
    else:
        choice = (a[0], dtypes.number(out))
    emit("tensor_copy_predicated", [dst], [choice, predicate])
    return result
