"""The arithmetic of the NumPy interpreter: element types, operators, activation functions, random numbers.

Values are fp32 or exact integers in arrays of any shape; an operation rounds once, when its result is stored.
It shares no code with common/nki/exec.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import _nki
import ml_dtypes
import numpy as np

F32 = np.float32
TF32 = _nki.DTYPES["tfloat32"][0]
STORED = {
    "tfloat32": F32,
    "bfloat16": ml_dtypes.bfloat16,
    "float8_e4m3": ml_dtypes.float8_e4m3,
    "float8_e5m2": ml_dtypes.float8_e5m2,
    "bool_": np.uint8,
}
DTYPE = {row[0]: np.dtype(STORED.get(name, name)) for name, row in _nki.DTYPES.items()}
IS_INTEGER = {row[0]: name.lstrip("u").startswith("int") for name, row in _nki.DTYPES.items()}
BOOL = _nki.DTYPES["bool_"][0]
ALU = {row[0]: name for name, row in _nki.ALU_OPS.items()}
BITWISE = {name for name, row in _nki.ALU_OPS.items() if row[2]}
BITWISE_UFUNC = {
    "bitwise_and": np.bitwise_and,
    "bitwise_or": np.bitwise_or,
    "bitwise_xor": np.bitwise_xor,
}
UNARY = {name for name, row in _nki.ALU_OPS.items() if row[1] == 1}
ACT = {row[0]: name for name, row in _nki.ACT_FNS.items()}


# ---- Element types


def round_to(values: np.ndarray, dtype: int) -> np.ndarray:
    """fp32 values as the engines write them: to nearest even, integers saturated, NaN to the integer 0."""
    stored = DTYPE[dtype]
    if dtype == BOOL:
        return (values != 0).astype(stored)
    if IS_INTEGER[dtype]:
        info = np.iinfo(stored)
        exact = np.nan_to_num(np.rint(values.astype(np.float64)), nan=0.0, posinf=info.max, neginf=info.min)
        return np.clip(exact, info.min, info.max).astype(np.int64).astype(stored)
    if dtype == TF32:
        bits = np.ascontiguousarray(values, F32).view(np.uint32).astype(np.uint64)
        rounded = ((bits + 0xFFF + ((bits >> 13) & 1)) & 0xFFFFE000).astype(np.uint32).view(F32)
        return np.where(np.isfinite(values), rounded, values)
    return values.astype(stored)


def saturate(values: np.ndarray, dtype: int) -> np.ndarray:
    """Exact integers in an element type."""
    if not IS_INTEGER[dtype]:
        return round_to(values.astype(F32), dtype)
    info = np.iinfo(DTYPE[dtype])
    return np.clip(values, info.min, info.max).astype(DTYPE[dtype])


def low_bits(values: np.ndarray, dtype: int) -> np.ndarray:
    """The result of a bitwise operator in an element type."""
    return values.astype(DTYPE[dtype]) if IS_INTEGER[dtype] else round_to(values.astype(F32), dtype)


def to_int(values: np.ndarray, dtype: int) -> np.ndarray:
    """Elements as exact integers; floats as int32."""
    if IS_INTEGER[dtype] or dtype == BOOL:
        return values.astype(np.int64)
    return round_to(values.astype(F32), _nki.DTYPES["int32"][0]).astype(np.int64)


# ---- Operators


def _mod(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    r = np.fmod(a, b)
    return np.where((r != 0) & ((r < 0) != (b < 0)), r + b, r)


ARITHMETIC: dict[str, Callable] = {
    "none": lambda a, b: a,
    "add": np.add,
    "multiply": np.multiply,
    "subtract": np.subtract,
    "maximum": lambda a, b: np.where((a > b) | np.isnan(a), a, b),
    "minimum": lambda a, b: np.where((a < b) | np.isnan(a), a, b),
    "equal": np.equal,
    "not_equal": np.not_equal,
    "greater_equal": np.greater_equal,
    "greater": np.greater,
    "less_equal": np.less_equal,
    "less": np.less,
    "logical_not": lambda a, b: a == 0,
    "logical_and": lambda a, b: (a != 0) & (b != 0),
    "logical_or": lambda a, b: (a != 0) | (b != 0),
    "logical_xor": lambda a, b: (a != 0) ^ (b != 0),
    "rsqrt": lambda a, b: 1 / np.sqrt(a),
    "reciprocal": lambda a, b: 1 / a,
    "abs": lambda a, b: np.abs(a),
    "power": np.power,
    "divide": np.divide,
    "mod": _mod,
    "fmod": np.fmod,
}


def _shift(a: np.ndarray, b: np.ndarray, bits: int, left: bool) -> np.ndarray:
    mask = (1 << bits) - 1
    by = np.where((b >= 0) & (b < bits), b, 0)
    shifted = ((a & mask) << by) & mask if left else (a & mask) >> by
    return np.where((b >= 0) & (b < bits), shifted, 0)


def bitwise(op: str, a: np.ndarray, b: np.ndarray, bits: int) -> np.ndarray:
    """A bitwise operator on exact integers, at the width of the data."""
    if op == "invert":
        return ~a
    if op.endswith("_shift"):
        return _shift(a, b, bits, op == "left_shift")
    return BITWISE_UFUNC[op](a, b)


def arithmetic(op: str, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """An arithmetic operator in fp32."""
    return np.asarray(ARITHMETIC[op](a, b)).astype(F32, copy=False)


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


_erf = np.vectorize(math.erf, otypes=[F32])


def _cdf(x: np.ndarray) -> np.ndarray:
    return (0.5 * (1 + _erf(x.astype(np.float64) / math.sqrt(2)))).astype(F32)


ACTIVATION: dict[str, Callable] = {
    "copy": lambda x: x,
    "square": np.square,
    "sigmoid": _sigmoid,
    "relu": lambda x: np.where((x > 0) | np.isnan(x), x, 0),
    "gelu": lambda x: x * _cdf(x),
    "gelu_dx": lambda x: _cdf(x) + x * np.exp(-0.5 * x * x) / math.sqrt(2 * math.pi),
    "gelu_apprx_tanh": lambda x: 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))),
    "silu": lambda x: x * _sigmoid(x),
    "silu_dx": lambda x: _sigmoid(x) * (1 + x * (1 - _sigmoid(x))),
    "tanh": np.tanh,
    "softplus": lambda x: np.logaddexp(x, 0),
    "mish": lambda x: x * np.tanh(np.logaddexp(x, 0)),
    "erf": _erf,
    "erf_dx": lambda x: 2 / math.sqrt(math.pi) * np.exp(-x * x),
    "exp": np.exp,
    "sign": np.sign,
    "abs": np.abs,
    "log": np.log,
    "sin": np.sin,
    "arctan": np.arctan,
    "sqrt": np.sqrt,
    "rsqrt": lambda x: 1 / np.sqrt(x),
    "reciprocal": lambda x: 1 / x,
    "cos": np.cos,
    "tan": np.tan,
    "floor": np.floor,
    "ceil": np.ceil,
    "trunc": np.trunc,
}

# ---- Random numbers


def mix(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """SplitMix64's finaliser over both numbers (uint64, wrapping)."""
    z = a + np.uint64(0x9E3779B97F4A7C15) * (b + np.uint64(1))
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))
