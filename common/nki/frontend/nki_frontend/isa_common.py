"""What the nisa calls share: engines, commands, argument checks."""

from __future__ import annotations

import enum

import _nki

from . import dtypes
from .access import masked, partition_mismatch, squeeze_to, vector
from .context import PSUM, Access
from .errors import NkiError
from .expr import Expr
from .tile import Tensor, fresh, on_chip


class Engine(enum.Enum):
    """nisa.engine: values as in a program."""

    tensor = _nki.ENGINES["tensor"]
    vector = _nki.ENGINES["vector"]
    scalar = _nki.ENGINES["scalar"]
    gpsimd = _nki.ENGINES["gpsimd"]
    sync = _nki.ENGINES["sync"]
    dma = _nki.ENGINES["dma"]
    unknown = _nki.ENGINES["unknown"]


class ReduceCmd(enum.Enum):
    """nisa.reduce_cmd."""

    idle = 0
    reset = 1
    reduce = 2
    reset_reduce = 3


class OobMode(enum.Enum):
    """nisa.oob_mode."""

    error = 0
    skip = 1


class DgeMode(enum.Enum):
    """nisa.dge_mode: how descriptors are made; a hint."""

    none = 0
    swdge = 1
    hwdge = 2
    unknown = 3


class NcVersion(enum.IntEnum):
    """nisa.nc_version: hardware generations."""

    gen2 = 2
    gen3 = 3
    gen4 = 4


def engine_value(engine: object, what: str) -> int:
    """The engine= argument, which must be one that runs the instruction."""
    if engine is None:
        return 0
    if not isinstance(engine, Engine):
        raise NkiError(
            "err_unsupported_engine",
            f"{what}: {engine!r} is not an engine",
            limit="nisa.vector_engine, nisa.scalar_engine, nisa.gpsimd_engine, nisa.tensor_engine",
            actual=engine,
        )
    allowed = (
        _nki.OPCODES[what.removeprefix("nisa.")][2] if what.removeprefix("nisa.") in _nki.OPCODES else None
    )
    if engine is not Engine.unknown and allowed is not None and engine.value not in allowed:
        names = [e.name for e in Engine if e.value in allowed and e is not Engine.unknown]
        raise NkiError(
            "err_unsupported_engine",
            f"{what} can't run on the {engine.name} engine",
            limit=", ".join(names),
            actual=engine.name,
        )
    return engine.value


def tile(value: object, what: str) -> Access:
    """A tile operand."""
    if not isinstance(value, Tensor):
        raise NkiError(
            "err_operand_type",
            f"operand {what} is a {type(value).__name__}",
            limit="a tile",
            actual=type(value).__name__,
        )
    return on_chip(value, what)


def same_partitions(a: Access, b: Access, what: str) -> None:
    """Operands of an ISA call have equal partition sizes."""
    if a.shape[0] != b.shape[0]:
        raise partition_mismatch(what, b.shape[0], a.shape[0])


def same_shape(a: Access, b: Access, what: str, free_only: bool = True) -> Access:
    """`b` under the shape of `a`: equal, or with the free axes of `a` split otherwise."""
    same_partitions(a, b, what)
    if a.shape == b.shape:
        return b
    fitted = squeeze_to(b, a.shape)
    if fitted is None:
        fitted = _regroup(b, a.shape)
    if fitted is None:
        raise NkiError(
            "err_shape_mismatch",
            f"operand {what} has shape {b.shape}, the other operand {a.shape}",
            limit=a.shape,
            actual=b.shape,
            hint="one value for each partition goes with nisa.tensor_scalar; else use .broadcast_to"
            if all(n == 1 for n in b.shape[1:])
            else "ISA calls don't broadcast: use .broadcast_to",
        )
    return fitted


def _regroup(b: Access, shape: tuple) -> Access | None:
    """The same elements per partition under other free axes, where that stays affine."""
    import math

    from .indexing import substitute
    from .views import _affine_parts

    if math.prod(b.shape) != math.prod(shape):
        return None
    tensor = Tensor(b.buffer, b.shape, b.index, b.mask)
    parts = _affine_parts(tensor, shape)
    if parts is None:
        return None
    return Access(
        b.buffer,
        shape,
        tuple(substitute(e, parts, shape) for e in b.index),
        tuple(substitute(m, parts, shape) for m in b.mask),
    )


def scalar_or_vector(value: object, what: str, data: Access, kind: object = None) -> object:
    """A constant or a [P, 1] tile."""
    if isinstance(value, Tensor):
        return vector(value, what, data.shape[0])
    number = dtypes.scalar(value)
    if number is None and isinstance(value, Expr):
        if value.is_constant() and not value.shape:
            number = (float(value.const), dtypes.int32)
        else:
            from .elementwise import index_tile

            return vector(index_tile(value, data.shape[0]), what, data.shape[0])
    if number is None:
        raise NkiError(
            "err_operand_type",
            f"operand {what} is a {type(value).__name__}",
            limit="a number or a [P, 1] tile",
            actual=type(value).__name__,
        )
    return (number[0], dtypes.number(kind or number[1]))


def float_value(value: object, what: str) -> float:
    """A compile-time number."""
    number = dtypes.scalar(value)
    if number is None:
        raise NkiError(
            "err_operand_type",
            f"{what} is a {type(value).__name__}",
            limit="a number",
            actual=type(value).__name__,
        )
    return number[0]


def result_type(default: object, dtype: object) -> object:
    """dtype= or the default."""
    return default if dtype is None else dtypes.normalize(dtype)


def output(shape: tuple, dtype: object, mask: object) -> tuple[Tensor, Access]:
    """A fresh SBUF tile and its masked access."""
    result = fresh(shape, dtype)
    return result, masked(on_chip(result, "dst"), mask)


def in_sbuf(access: Access) -> Access:
    """A copy in SBUF of a tile that its engine can't read from PSUM."""
    if access.buffer.buffer != PSUM:
        return access
    from .elementwise import _to_sbuf

    return _to_sbuf(access)
