"""tensor.view(dtype): the same bits as another type.

A type of the same size is a view of the storage. Types of another size change the number of elements along
the last axis; a program's tensors have one element size, so the bits of an on-chip tile are then taken apart,
or put together, by shifts into a tile of its own. That tile is a copy: it can be read, not written.
"""

from __future__ import annotations

import itertools

import numpy as np

from . import context, dtypes
from .context import SBUF, current
from .errors import NkiError
from .tile import Tensor, settle

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


def _blocks(tensor: Tensor) -> list[tuple]:
    """The indices of its blocks; tiles are taken apart one by one."""
    axis = tensor.buffer.partition_axis if tensor.shape == tensor.buffer.shape else 0
    return list(itertools.product(*(range(n) for n in tensor.shape[:axis])))


def _result(tensor: Tensor, shape: tuple, kind: np.dtype, blocks: list[tuple]) -> Tensor:
    name = f"{tensor.buffer.name}_parts"
    return Tensor(current().new_buffer(SBUF, kind, shape, name=name, partition_axis=len(blocks[0])))


def _split(bits: Tensor, old: int, new: int) -> Tensor:
    """Each element becomes `old / new` smaller ones, the lowest bits first."""
    from .isa_compute import tensor_scalar

    parts, width, small = old // new, 8 * new, _UNSIGNED[new]
    blocks = _blocks(bits)
    out = _result(bits, (*bits.shape, parts), small, blocks)
    for block, k in itertools.product(blocks, range(parts)):
        out[(*block, ..., k)] = tensor_scalar(
            bits[block] if block else bits,
            np.right_shift,
            k * width,
            op1=np.bitwise_and,
            operand1=(1 << width) - 1,
            dtype=small,
        )
    return out.reshape((*bits.shape[:-1], bits.shape[-1] * parts))


def _join(bits: Tensor, old: int, new: int) -> Tensor:
    """`new / old` elements become one, the first in the lowest bits."""
    from .isa_compute import tensor_copy, tensor_scalar, tensor_tensor

    parts, width, large = new // old, 8 * old, _UNSIGNED[new]
    blocks = _blocks(bits)
    grouped = bits.reshape((*bits.shape[:-1], bits.shape[-1] // parts, parts))
    out = _result(bits, grouped.shape[:-1], large, blocks)
    for block in blocks:
        whole = tensor_copy(grouped[(*block, ..., 0)], dtype=large)
        for k in range(1, parts):
            wide = tensor_copy(grouped[(*block, ..., k)], dtype=large)
            whole = tensor_tensor(whole, tensor_scalar(wide, np.left_shift, k * width), np.bitwise_or)
        out[(*block, ...)] = whole
    return out


def check_writable(tensor: Tensor) -> None:
    """A view of another element size is a copy: what is written into it would be lost."""
    if tensor.buffer.bits_of is not None:
        raise NkiError(
            "err_view_dtype_not_supported",
            f"'{tensor.buffer.bits_of.name}' is viewed with another element size and can't be written to",
            hint="write to the tensor itself",
        )
