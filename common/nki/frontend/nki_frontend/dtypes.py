"""Element types: NumPy types as kernels see them, and their numbers in a program."""

from __future__ import annotations

import _nki
import ml_dtypes
import numpy as np

from .errors import NkiError

bfloat16 = np.dtype(ml_dtypes.bfloat16)
float8_e4m3 = np.dtype(ml_dtypes.float8_e4m3)
float8_e5m2 = np.dtype(ml_dtypes.float8_e5m2)
# 32 bits of storage without arithmetic of its own in NumPy, as in the SDK.
tfloat32 = np.dtype("|V4")

_BY_NAME = {
    "float32": np.dtype(np.float32),
    "tfloat32": tfloat32,
    "bfloat16": bfloat16,
    "float16": np.dtype(np.float16),
    "float8_e4m3": float8_e4m3,
    "float8_e5m2": float8_e5m2,
    "int32": np.dtype(np.int32),
    "int16": np.dtype(np.int16),
    "int8": np.dtype(np.int8),
    "uint32": np.dtype(np.uint32),
    "uint16": np.dtype(np.uint16),
    "uint8": np.dtype(np.uint8),
    "bool_": np.dtype(np.bool_),
}
_NUMBER = {dtype: _nki.DTYPES[name][0] for name, dtype in _BY_NAME.items()}
_DTYPE = {number: dtype for dtype, number in _NUMBER.items()}
_NAME = {dtype: name for name, dtype in _BY_NAME.items()}
_ALIASES = {"bool": "bool_", "float32r": "float32", "fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}
_cache: dict[object, np.dtype] = {}

float32 = _BY_NAME["float32"]
int32 = _BY_NAME["int32"]
uint8 = _BY_NAME["uint8"]
bool_ = _BY_NAME["bool_"]
uint32 = _BY_NAME["uint32"]


def normalize(dtype: object) -> np.dtype:
    """The supported NumPy dtype that `dtype` names."""
    try:
        known = _cache.get(dtype)
    except TypeError:
        known = None
    if known is not None:
        return known
    if isinstance(dtype, str):
        found = _BY_NAME.get(_ALIASES.get(dtype, dtype))
    else:
        try:
            found = np.dtype(dtype)
        except TypeError:
            found = None
        if found is not None and found not in _NUMBER:
            found = None
    if found is None:
        raise NkiError(
            "err_unsupported_dtype",
            f"{dtype!r} is not an NKI element type",
            limit=", ".join(_BY_NAME),
            actual=dtype,
            hint="NeuronCores have no 64-bit types: use float32 or int32",
        )
    _cache[dtype] = found
    return found


def number(dtype: np.dtype) -> int:
    """The dtype's value in a program."""
    return _NUMBER[dtype]


def name(dtype: np.dtype) -> str:
    """The dtype's name in nki.language."""
    return _NAME[dtype]


def promote(a: np.dtype, b: np.dtype) -> np.dtype:
    """Result type of an operation on both, by the SDK's promotion table."""
    return a if a == b else _DTYPE[_nki.promote(_NUMBER[a], _NUMBER[b])]


def is_integer(dtype: np.dtype) -> bool:
    """Signed or unsigned integers, bool excluded."""
    return _nki.DTYPES[_NAME[dtype]][3]


def is_float(dtype: np.dtype) -> bool:
    """Floating types."""
    return _nki.DTYPES[_NAME[dtype]][2]


def scalar(value: object) -> tuple[float, np.dtype] | None:
    """(value, dtype) of a Python or NumPy number, None if it is none: bool -> uint8, int -> int32, float
    -> float32.
    """
    if isinstance(value, bool):
        return (float(value), uint8)
    if isinstance(value, int):
        return (float(value), int32)
    if isinstance(value, float):
        return (value, float32)
    if isinstance(value, np.generic) or (isinstance(value, np.ndarray) and value.ndim == 0):
        kind = value.dtype
        if kind == np.float64:
            return (float(value), float32)
        if kind in (np.int64, np.uint64):
            return (float(value), int32)
        if kind in _NUMBER:
            return (float(value), kind)
    return None
