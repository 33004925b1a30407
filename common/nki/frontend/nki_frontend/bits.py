"""tensor.view(dtype): the same bits as another type.

A type of the same size is a view of the storage. Types of another size change the number of elements along
the last axis; a program's tensors have one element size, so the bits of an on-chip tile are then taken apart,
or put together, by shifts into a tile of its own. That tile is a copy: it can be read, not written.
"""

from __future__ import annotations

import numpy as np

from . import context, dtypes
from .errors import NkiError
from .tile import Tensor, fresh, settle

_UNSIGNED = {1: np.dtype(np.uint8), 2: np.dtype(np.uint16), 4: np.dtype(np.uint32)}


def view(tensor: Tensor, dtype: object) -> Tensor:
    """The tensor's bits as another type."""
    kind = dtypes.normalize(dtype)
    if kind == tensor.dtype:
        return tensor[...]
    for t in (kind, tensor.dtype):
        if t in (dtypes.bool_, dtypes.tfloat32):
            raise _refused(tensor, kind, f"not every pattern of bits is a {dtypes.name(t)}")
    settle(tensor)
    old, new = tensor.dtype.itemsize, kind.itemsize
    if old == new:
        return _retyped(tensor, kind)
    if context.is_hbm(tensor.buffer.buffer):
        raise _refused(tensor, kind, "in HBM the sizes of the types must be equal")
    if len(tensor.shape) < 2 or tensor.shape[-1] * old % new:
        raise _refused(tensor, kind, f"{tensor.shape[-1]} elements of {old} bytes are no multiple of {new}")
    bits = tensor if tensor.dtype == _UNSIGNED[old] else _retyped(tensor, _UNSIGNED[old])
    out = _split(bits, old, new) if old > new else _join(bits, old, new)
    out.buffer.bits_of = tensor.buffer
    return out if kind == _UNSIGNED[new] else _retyped(out, kind)


def _refused(tensor: Tensor, kind: object, why: str) -> NkiError:
    return NkiError(
        "err_view_dtype_not_supported",
        f"tensor '{tensor.buffer.name}' of {dtypes.name(tensor.dtype)} can't be viewed as "
        f"{dtypes.name(kind)}: {why}",
        hint="astype converts values",
    )


def _retyped(tensor: Tensor, kind: np.dtype) -> Tensor:
    from .views import view_buffer

    alias = view_buffer(tensor.buffer, tensor.buffer.shape, tensor.buffer.partition_axis)
    alias.dtype = kind
    return Tensor(alias, tensor.shape, tensor.index, tensor.mask, tensor.runtime)


def _split(bits: Tensor, old: int, new: int) -> Tensor:
    """Each element becomes `old / new` smaller ones, the lowest bits first."""
    from .isa_compute import tensor_scalar

    parts, width, small = old // new, 8 * new, _UNSIGNED[new]
    out = fresh((*bits.shape, parts), small, name=f"{bits.buffer.name}_parts")
    for k in range(parts):
        out[..., k] = tensor_scalar(
            bits,
            np.right_shift,
            k * width,
            op1=np.bitwise_and,
            operand1=(1 << width) - 1,
            dtype=_UNSIGNED[new],
        )
    return out.reshape((*bits.shape[:-1], bits.shape[-1] * parts))


def _join(bits: Tensor, old: int, new: int) -> Tensor:
    """`new / old` elements become one, the first in the lowest bits."""
    from .isa_compute import tensor_copy, tensor_scalar, tensor_tensor

    parts, width = new // old, 8 * old
    grouped = bits.reshape((*bits.shape[:-1], bits.shape[-1] // parts, parts))
    out = tensor_copy(grouped[..., 0], dtype=_UNSIGNED[new])
    for k in range(1, parts):
        wide = tensor_copy(grouped[..., k], dtype=_UNSIGNED[new])
        out = tensor_tensor(out, tensor_scalar(wide, np.left_shift, k * width), np.bitwise_or)
    return out


def check_writable(tensor: Tensor) -> None:
    """A view of another element size is a copy: what is written into it would be lost."""
    if tensor.buffer.bits_of is not None:
        raise NkiError(
            "err_view_dtype_not_supported",
            f"'{tensor.buffer.bits_of.name}' is viewed with another element size and can't be written to",
            hint="write to the tensor itself",
        )
