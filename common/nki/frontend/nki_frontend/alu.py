"""Which operator an `op` argument names: nl functions, NumPy functions of the same meaning, or their
names.
"""

from __future__ import annotations

import _nki
import numpy as np

from .errors import NkiError

_NUMPY = {
    np.max: "maximum",
    np.amax: "maximum",
    np.maximum: "maximum",
    np.min: "minimum",
    np.amin: "minimum",
    np.minimum: "minimum",
    np.add: "add",
    np.sum: "add",
    np.subtract: "subtract",
    np.multiply: "multiply",
    np.prod: "multiply",
    np.bitwise_and: "bitwise_and",
    np.bitwise_or: "bitwise_or",
    np.bitwise_xor: "bitwise_xor",
    np.invert: "invert",
    np.left_shift: "left_shift",
    np.right_shift: "right_shift",
    np.equal: "equal",
    np.not_equal: "not_equal",
    np.greater: "greater",
    np.greater_equal: "greater_equal",
    np.less: "less",
    np.less_equal: "less_equal",
    np.logical_and: "logical_and",
    np.logical_or: "logical_or",
    np.logical_xor: "logical_xor",
    np.logical_not: "logical_not",
    np.abs: "abs",
    np.power: "power",
    np.reciprocal: "reciprocal",
    np.divide: "divide",
    np.mod: "mod",
    np.fmod: "fmod",
    np.all: "logical_and",
    np.any: "logical_or",
}
_NUMPY_ACT = {
    np.copy: "copy",
    np.square: "square",
    np.tanh: "tanh",
    np.exp: "exp",
    np.log: "log",
    np.sin: "sin",
    np.arctan: "arctan",
    np.sqrt: "sqrt",
    np.reciprocal: "reciprocal",
    np.sign: "sign",
    np.abs: "abs",
    np.cos: "cos",
    np.tan: "tan",
    np.floor: "floor",
    np.ceil: "ceil",
    np.trunc: "trunc",
}
_ALIASES = {"max": "maximum", "min": "minimum", "sum": "add", "prod": "multiply", "all": "logical_and"}


def _name(op: object, numpy: dict) -> str | None:
    try:
        if op in numpy:
            return numpy[op]
    except TypeError:
        return None
    if isinstance(op, str):
        return _ALIASES.get(op, op)
    name = getattr(op, "nki_name", None)
    return _ALIASES.get(name, name)


def op_name(op: object, what: str, *, isa: bool = False) -> str:
    """Name of an arithmetic or bitwise operator."""
    name = _name(op, _NUMPY)
    row = _nki.ALU_OPS.get(name)
    if row is None or name == "none" or isa and not row[5]:
        known = ", ".join(n for n, r in _nki.ALU_OPS.items() if r[5])
        raise NkiError(
            "err_unsupported_op",
            f"{what}: {describe(op)} is not a supported operator",
            limit=known,
            actual=describe(op),
            hint="pass an nl or np function such as nl.add, np.multiply, nl.maximum",
        )
    return name


def act_name(op: object, what: str) -> str:
    """Name of an activation function."""
    name = _name(op, _NUMPY_ACT)
    row = _nki.ACT_FNS.get(name)
    if row is None or not row[1]:
        known = ", ".join(n for n, r in _nki.ACT_FNS.items() if r[1])
        raise NkiError(
            "err_unsupported_activation_function",
            f"{what}: {describe(op)} is not an activation function",
            limit=known,
            actual=describe(op),
            hint="compose it from the listed functions",
        )
    return name


def describe(op: object) -> str:
    """The name of a function argument, for messages."""
    return str(getattr(op, "nki_name", None) or getattr(op, "__name__", None) or op)
