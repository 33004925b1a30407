"""Tensors as a kernel sees them: specs, conversion at the kernel boundary, arenas in shared memory.

At the boundary int64 is int32, bool is uint8, and rank 0 is shape (1,); tensors are dense and row-major.
"""

from __future__ import annotations

import math
import mmap
import os
from dataclasses import dataclass
from typing import Any

import numpy
import torch

from nkiagent_worker.reference.task import Problem

# Images of volumes have the most: batch, channels and three spatial axes. As in compile- and verify-service.
MAX_RANK = 5
# As in common/sandbox/tensor_arena.h.
ALIGNMENT = 64

# Element type in the reference -> element type at the kernel boundary.
_BOUNDARY = {
    torch.float32: "float32",
    torch.bfloat16: "bfloat16",
    torch.float16: "float16",
    torch.float8_e5m2: "float8_e5m2",
    torch.int8: "int8",
    torch.int16: "int16",
    torch.int32: "int32",
    torch.int64: "int32",
    torch.uint8: "uint8",
    torch.uint16: "uint16",
    torch.uint32: "uint32",
    torch.bool: "uint8",
}
# Types that NumPy lacks travel as their bits.
_BITS = {torch.bfloat16: torch.int16, torch.float8_e5m2: torch.uint8}
_INT32 = torch.iinfo(torch.int32)


def dtype_name(dtype: torch.dtype) -> str:
    """A torch dtype as `float32`."""
    return str(dtype).removeprefix("torch.")


@dataclass
class Spec:
    """One tensor at the kernel boundary, and what it was in the reference."""

    name: str
    role: str
    dtype: str
    dims: list[int]
    reference_dtype: str
    rank_zero: bool
    reference_name: str

    def to_json(self) -> dict[str, Any]:
        """The form in which verify-service reads it."""
        return dict(vars(self))


def make_spec(tensor: torch.Tensor, name: str, role: str, reference_name: str = "") -> Spec:
    """The spec of a tensor. Raises Problem for what no kernel can take."""
    what = f"{role} {reference_name or name}"
    if tensor.layout != torch.strided or tensor.is_quantized or tensor.device.type != "cpu":
        raise Problem("UNSUPPORTED_DTYPE", f"{what} is not a dense tensor on the CPU")
    if tensor.dtype not in _BOUNDARY:
        known = ", ".join(dtype_name(dtype) for dtype in _BOUNDARY)
        raise Problem(
            "UNSUPPORTED_DTYPE", f"{what} has dtype {dtype_name(tensor.dtype)}; kernels take {known}"
        )
    if tensor.dim() > MAX_RANK:
        raise Problem(
            "UNSUPPORTED_RANK",
            f"{what} has shape {list(tensor.shape)} of {tensor.dim()} dimensions, limit {MAX_RANK}",
        )
    if tensor.numel() == 0:
        raise Problem("EMPTY_TENSOR", f"{what} has shape {list(tensor.shape)}, which holds no element")
    return Spec(
        name=name,
        role=role,
        dtype=_BOUNDARY[tensor.dtype],
        dims=list(tensor.shape) or [1],
        reference_dtype=dtype_name(tensor.dtype),
        rank_zero=tensor.dim() == 0,
        reference_name=reference_name,
    )


def boundary_array(tensor: torch.Tensor, what: str) -> numpy.ndarray:
    """The tensor's elements as they cross the kernel boundary. Raises Problem if an int64 doesn't fit."""
    tensor = tensor.detach().contiguous()
    if tensor.dtype == torch.int64:
        low, high = (int(tensor.min()), int(tensor.max())) if tensor.numel() else (0, 0)
        if low < _INT32.min or high > _INT32.max:
            raise Problem(
                "BAD_INPUTS",
                f"{what} is int64 and holds {low if low < _INT32.min else high}, "
                "which doesn't fit the int32 that kernels take",
            )
        tensor = tensor.to(torch.int32)
    elif tensor.dtype == torch.bool:
        tensor = tensor.view(torch.uint8)
    elif tensor.dtype in _BITS:
        tensor = tensor.view(_BITS[tensor.dtype])
    return tensor.numpy()


def write_arena(fd: int, tensors: list[tuple[torch.Tensor, str]]) -> list[dict[str, int]]:
    """Writes tensors side by side into shared memory and returns their slots; Problem if they don't fit."""
    arrays = [boundary_array(tensor, what) for tensor, what in tensors]
    slots: list[dict[str, int]] = []
    end = 0
    for array in arrays:
        offset = math.ceil(end / ALIGNMENT) * ALIGNMENT
        slots.append({"offset": offset, "size_bytes": array.nbytes})
        end = offset + array.nbytes
    limit = os.fstat(fd).st_size
    if end > limit:
        raise Problem("MEMORY", f"tensors of {end} bytes are larger than the {limit} bytes allowed")
    if not end:
        return slots
    with mmap.mmap(fd, end) as memory:
        for array, slot in zip(arrays, slots, strict=True):
            view = numpy.ndarray(array.shape, array.dtype, memory, slot["offset"])
            numpy.copyto(view, array)
            del view
    return slots


def equals_arena(fd: int, slots: list[dict[str, int]], tensors: list[torch.Tensor]) -> bool:
    """Whether shared memory holds exactly these tensors."""
    end = max(slot["offset"] + slot["size_bytes"] for slot in slots)
    with mmap.mmap(fd, end, prot=mmap.PROT_READ) as memory:
        for slot, tensor in zip(slots, tensors, strict=True):
            array = boundary_array(tensor, "parameter")
            held = memory[slot["offset"] : slot["offset"] + slot["size_bytes"]]
            if held != array.tobytes():
                return False
    return True
