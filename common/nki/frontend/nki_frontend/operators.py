"""The operators of tensors. They follow the nl function of the same meaning, except that they do not
broadcast over partitions.
"""

from __future__ import annotations

from . import dtypes
from .assign import update
from .elementwise import binary, scalar_op
from .expr import Expr
from .indexing import RuntimeIndex
from .tile import Tensor


def _usable(value: object) -> bool:
    return isinstance(value, (Tensor, Expr)) or dtypes.scalar(value) is not None


def _run_time_offset(op: str, tile: Tensor, other: object) -> bool:
    """Whether a sum is an index: one integer of the chip and an index over more partitions than it has."""
    return (
        op == "add"
        and isinstance(other, Expr)
        and len(other.shape) > 1
        and other.shape[0] > 1
        and tile.size == 1
        and dtypes.is_integer(tile.dtype)
    )


def _forward(op: str):
    def method(self, other):
        if _run_time_offset(op, self, other):
            return RuntimeIndex(self, other)
        return binary(op, self, other, operator=True) if _usable(other) else NotImplemented

    return method


def _reflected(op: str):
    def method(self, other):
        if _run_time_offset(op, self, other):
            return RuntimeIndex(self, other)
        return binary(op, other, self, operator=True) if _usable(other) else NotImplemented

    return method


def _augmented(op: str):
    def method(self, other):
        return update(op, self, other) if _usable(other) else NotImplemented

    return method


_ARITHMETIC = {
    "add": "add",
    "sub": "subtract",
    "mul": "multiply",
    "truediv": "divide",
    "mod": "mod",
    "pow": "power",
    "and": "bitwise_and",
    "or": "bitwise_or",
    "xor": "bitwise_xor",
    "lshift": "left_shift",
    "rshift": "right_shift",
}
for _name, _op in _ARITHMETIC.items():
    setattr(Tensor, f"__{_name}__", _forward(_op))
    setattr(Tensor, f"__r{_name}__", _reflected(_op))
    setattr(Tensor, f"__i{_name}__", _augmented(_op))
for _name, _op in {
    "lt": "less",
    "le": "less_equal",
    "gt": "greater",
    "ge": "greater_equal",
    "eq": "equal",
    "ne": "not_equal",
}.items():
    setattr(Tensor, f"__{_name}__", _forward(_op))


def _floordiv(self, other):
    from .elementwise import unary

    return unary("floor", binary("divide", self, other, operator=True))


def _matmul(self, other):
    from .matmul import matmul

    return matmul(self, other)


Tensor.__floordiv__ = _floordiv
Tensor.__matmul__ = _matmul
Tensor.__neg__ = lambda self: scalar_op("multiply", self, -1.0)
Tensor.__pos__ = lambda self: self
Tensor.__abs__ = lambda self: scalar_op("abs", self, 0.0)
Tensor.__invert__ = lambda self: scalar_op("invert", self, 0.0)
