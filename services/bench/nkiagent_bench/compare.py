"""The comparison of verify-service: its own code (services/verify/compare.h), not a second version of it."""

from __future__ import annotations

from dataclasses import dataclass

import _nki_compare
import numpy
import torch
from nkiagent_worker.reference import tensors


@dataclass
class Outcome:
    """How one output compares."""

    passed: bool
    mismatched: int
    # max |actual - expected| / (atol + rtol * |expected|): a pass is at most 1. Infinity where not finite.
    use: float


def boundary(tensor: torch.Tensor, name: str = "output") -> tuple[numpy.ndarray, str]:
    """A tensor as it crosses the kernel boundary, with the name of its type there."""
    spec = tensors.make_spec(tensor, name, "output")
    return tensors.boundary_array(tensor, name), spec.dtype


def use_of_arrays(expected: numpy.ndarray, actual: numpy.ndarray, atol: float, rtol: float) -> float:
    """Outcome.use of two arrays of the same shape and type, of ml_dtypes' types too."""
    left, right = (numpy.ascontiguousarray(a).reshape(-1).view(numpy.uint8) for a in (expected, actual))
    return _nki_compare.compare(str(expected.dtype), left, right, atol, rtol)[2]


def compare(expected: torch.Tensor, actual: torch.Tensor, atol: float, rtol: float) -> Outcome:
    """Judges one output as verify-service would; both have the same shape and type."""
    left, dtype = boundary(expected)
    right, _ = boundary(actual)
    return Outcome(
        *_nki_compare.compare(
            dtype, left.reshape(-1).view(numpy.uint8), right.reshape(-1).view(numpy.uint8), atol, rtol
        )
    )
