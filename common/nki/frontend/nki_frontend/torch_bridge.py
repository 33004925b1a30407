"""torch tensors as arguments and results of kernels. Nothing here imports torch first: only who has imported
it can pass its tensors.
"""

from __future__ import annotations

import sys
from typing import Any

import ml_dtypes
import numpy as np

# Element types that NumPy lacks: both sides see the same bits through an integer type.
_BITS = {"bfloat16": ("int16", ml_dtypes.bfloat16), "float8_e5m2": ("uint8", ml_dtypes.float8_e5m2)}


def is_tensor(value: object) -> bool:
    """Whether a value is a torch tensor."""
    torch = sys.modules.get("torch")
    kind = getattr(torch, "Tensor", None)  # absent while torch itself is being imported
    return kind is not None and isinstance(value, kind)


def to_numpy(tensor: Any, name: str) -> np.ndarray:
    """The tensor's elements under a NumPy dtype; shares its memory."""
    import torch

    if tensor.device.type != "cpu" or tensor.layout is not torch.strided:
        raise TypeError(
            f"argument '{name}': kernels take dense torch tensors on the CPU, not {tensor.layout} on "
            f"{tensor.device}; use .cpu() or .to_dense()"
        )
    plain = tensor.detach().resolve_conj().resolve_neg()
    kind = str(tensor.dtype).removeprefix("torch.")
    if kind in _BITS:
        bits, wanted = _BITS[kind]
        return plain.view(getattr(torch, bits)).numpy().view(wanted)
    if kind.startswith("float8"):
        raise TypeError(f"argument '{name}': {tensor.dtype} is not an NKI element type; float8_e5m2 is")
    return plain.numpy()


def from_numpy(array: np.ndarray) -> Any:
    """A torch tensor that shares the array's memory."""
    import torch

    for kind, (bits, numpy_type) in _BITS.items():
        if array.dtype == numpy_type:
            return torch.from_numpy(array.view(bits)).view(getattr(torch, kind))
    return torch.from_numpy(array)
