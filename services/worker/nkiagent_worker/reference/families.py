"""Inputs other than a task draws them: what a verification of high rigor tries beside those.

Each family changes the floating-point inputs of a seed; inputs of other types may be indices and stay. The
factors are powers of two, so that bf16 and fp16 inputs keep their bits.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

DRAWN = "drawn"
LARGE_FACTOR = 64.0
TINY_FACTOR = 1.0 / 1024
# One element in so many is replaced, at most four: most of an output shall stay finite.
ONE_IN = 4096
MOST_REPLACED = 4
# Errors of a right kernel are taken to be at most so many roundings of the inputs (services/verify/rigor.cc).
ROUNDINGS = 8

Change = Callable[[torch.Tensor, torch.Generator], torch.Tensor]


def _constant_rows(tensor: torch.Tensor, _: torch.Generator) -> torch.Tensor:
    return tensor[..., :1].expand_as(tensor).clone() if tensor.dim() else tensor


def _permuted(tensor: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    order = torch.randperm(tensor.numel(), generator=generator)
    return tensor.reshape(-1)[order].reshape(tensor.shape)


def _with(values: tuple[float, ...]) -> Change:
    def change(tensor: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        count = min(MOST_REPLACED, max(len(values), tensor.numel() // ONE_IN), tensor.numel())
        places = torch.randperm(tensor.numel(), generator=generator)[:count]
        changed = tensor.clone().reshape(-1)
        for number, place in enumerate(places.tolist()):
            changed[place] = values[number % len(values)]
        return changed.reshape(tensor.shape)

    return change


FAMILIES: dict[str, Change] = {
    DRAWN: lambda tensor, _: tensor,
    "large": lambda tensor, _: tensor * LARGE_FACTOR,
    "tiny": lambda tensor, _: tensor * TINY_FACTOR,
    "negative": lambda tensor, _: -tensor.abs(),
    "positive": lambda tensor, _: tensor.abs(),
    "constant_rows": _constant_rows,
    "permuted": _permuted,
    "nan": _with((float("nan"),)),
    "infinite": _with((float("inf"), float("-inf"))),
}
# Those whose expected outputs may hold NaN.
NON_FINITE = ("nan", "infinite")


def change(inputs: list[Any], family: str, seed: int) -> list[Any]:
    """The inputs of a seed as `family` has them; the same for the same seed."""
    if family == DRAWN:
        return inputs
    generator = torch.Generator().manual_seed(seed & 0x7FFF_FFFF_FFFF_FFFF)
    changed = []
    for value in inputs:
        if torch.is_tensor(value) and value.is_floating_point():
            # fp8 has no arithmetic of its own.
            wide = value.float() if value.element_size() == 1 else value
            value = FAMILIES[family](wide, generator).to(value.dtype)
        changed.append(value)
    return changed


def has_floats(inputs: list[Any]) -> bool:
    """Whether there is anything that a family changes."""
    return any(torch.is_tensor(value) and value.is_floating_point() for value in inputs)


def rounded_differently(inputs: list[Any], seed: int) -> list[Any]:
    """Floating-point inputs with each element one unit in the last place further up or down, at random."""
    generator = torch.Generator().manual_seed(seed & 0x7FFF_FFFF_FFFF_FFFF)
    changed = []
    for value in inputs:
        if torch.is_tensor(value) and value.is_floating_point() and value.element_size() > 1:
            signs = torch.randint(0, 2, value.shape, generator=generator) * 2.0 - 1.0
            moved = value.double() * (1.0 + signs * torch.finfo(value.dtype).eps)
            value = torch.where(torch.isfinite(value), moved.to(value.dtype), value)
        changed.append(value)
    return changed
