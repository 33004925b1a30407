"""Which operators of a module are taken apart on the way to core ATen, and which stay one node."""

from __future__ import annotations

import contextlib
import functools
import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch._decomp import get_decompositions
from torch.nn import functional

aten = torch.ops.aten

# Composites that stay one node. Unrolled, a recurrent network is some thirty nodes for each step and layer;
# an unpooling would lose that its places are those of one image.
_KEPT = (
    aten.gru.input,
    aten.rnn_tanh.input,
    aten.rnn_relu.input,
    aten.max_unpool2d.default,
    aten.max_unpool3d.default,
)
# Core operators that PyTorch can take apart itself, and that are nothing but index arithmetic or a formula.
_TAKEN_APART = (
    aten.dist,
    aten.grid_sampler_2d,
    aten.tril_indices,
    aten.triu_indices,
)
_NEAREST = 1
_BORDER, _REFLECTION = 1, 2


def table() -> dict[torch._ops.OperatorBase, Callable]:
    """The decompositions with which graphs are written."""
    decompositions = torch.export.default_decompositions()
    for overload in _KEPT:
        decompositions.pop(overload, None)
    decompositions.update(get_decompositions(_TAKEN_APART))
    decompositions[aten.lstm.input] = _projected_lstm
    decompositions[aten.grid_sampler_3d.default] = _grid_sampler_3d
    decompositions[aten._upsample_bilinear2d_aa.default] = _smoothly_resampled
    decompositions[aten.multilabel_margin_loss_forward.default] = _multilabel_margin_loss
    return decompositions


_unrolled_lstm = get_decompositions([aten.lstm])[aten.lstm.input]


def _projected_lstm(x: torch.Tensor, states: list, weights: list, has_biases: bool, *rest: Any) -> Any:
    """Only an LSTM whose hidden state is projected is unrolled: it has one matrix more in each layer."""
    projected = len(states) == 2 and states[0].shape[-1] != states[1].shape[-1]
    return _unrolled_lstm(x, states, weights, has_biases, *rest) if projected else NotImplemented


@contextlib.contextmanager
def without_value_checks() -> Iterator[None]:
    """Functions that raise for some values are exported without that check, which no graph can hold."""
    original = functional.gaussian_nll_loss
    functional.gaussian_nll_loss = _gaussian_nll_loss
    try:
        yield
    finally:
        functional.gaussian_nll_loss = original


def _gaussian_nll_loss(
    x: torch.Tensor,
    target: torch.Tensor,
    var: torch.Tensor | float,
    full: bool = False,
    eps: float = 1e-6,
    reduction: str = "mean",
) -> torch.Tensor:
    variance = torch.as_tensor(var, dtype=x.dtype)
    if variance.shape != x.shape and variance.shape == x.shape[:-1]:
        variance = variance.unsqueeze(-1)
    held = variance.clamp(min=eps)
    loss = 0.5 * (torch.log(held) + (x - target) ** 2 / held)
    if full:
        loss = loss + 0.5 * math.log(2 * math.pi)
    return loss.mean() if reduction == "mean" else loss.sum() if reduction == "sum" else loss


def _within(at: torch.Tensor, size: int, padding: int, corners: bool) -> torch.Tensor:
    """Coordinates in -1..1 as positions along an axis, brought inside it as the padding says."""
    at = (at + 1) * ((size - 1) / 2) if corners else ((at + 1) * size - 1) / 2
    if padding == _REFLECTION:
        low, span = (0.0, size - 1.0) if corners else (-0.5, float(size))
        if span == 0:
            return torch.zeros_like(at)
        away = torch.remainder(torch.abs(at - low), 2 * span)
        at = torch.minimum(away, 2 * span - away) + low
    return at.clamp(0, size - 1) if padding in (_BORDER, _REFLECTION) else at


def _grid_sampler_3d(
    volume: torch.Tensor, grid: torch.Tensor, mode: int, padding: int, corners: bool
) -> torch.Tensor:
    """Samples of a volume (N, C, D, H, W) at points (N, d, h, w, 3), the last axis naming W, H, D in turn."""
    batch, channels, *sizes = volume.shape
    at = [_within(grid[..., 2 - k], size, padding, corners) for k, size in enumerate(sizes)]
    image = torch.arange(batch, device=grid.device).view(batch, 1, 1, 1)

    def taken(places: list[torch.Tensor]) -> torch.Tensor:
        inside = functools.reduce(
            torch.logical_and, [(p >= 0) & (p < size) for p, size in zip(places, sizes, strict=True)]
        )
        held = [p.clamp(0, size - 1).to(torch.int64) for p, size in zip(places, sizes, strict=True)]
        values = volume.permute(0, 2, 3, 4, 1)[image, held[0], held[1], held[2]]
        return torch.where(inside[..., None], values, 0.0)

    if mode == _NEAREST:
        return taken([a.round() for a in at]).permute(0, 4, 1, 2, 3).contiguous()
    total = torch.zeros((*grid.shape[:-1], channels), dtype=volume.dtype, device=volume.device)
    for corner in itertools.product((0, 1), repeat=3):
        places = [a.floor() + far for a, far in zip(at, corner, strict=True)]
        shares = [1 - torch.abs(a - p) for a, p in zip(at, places, strict=True)]
        total = total + taken(places) * (shares[0] * shares[1] * shares[2])[..., None]
    return total.permute(0, 4, 1, 2, 3).contiguous()


def _hats(x: torch.Tensor, count: int, size: int, corners: bool, scale: float | None) -> torch.Tensor:
    """Shares (size, count) of an axis's elements in those of the resampled one: hats as wide as the step."""
    step = count / size if not scale else 1 / scale
    if corners:
        step = (count - 1) / (size - 1) if size > 1 else 0.0
    centres = (torch.arange(size, device=x.device) + 0.5) * step
    away = torch.arange(count, device=x.device) + 0.5 - centres[:, None]
    shares = (1 - torch.abs(away) / max(step, 1.0)).clamp(min=0)
    return (shares / shares.sum(1, keepdim=True)).to(x.dtype)


def _smoothly_resampled(
    x: torch.Tensor, size: list[int], corners: bool, down: float | None = None, across: float | None = None
) -> torch.Tensor:
    """Bilinear with antialiasing, as products with the shares along each axis."""
    rows = _hats(x, x.shape[2], size[0], corners, down)
    columns = _hats(x, x.shape[3], size[1], corners, across)
    return rows @ (x @ columns.t())


def _multilabel_margin_loss(
    x: torch.Tensor, target: torch.Tensor, reduction: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """PyTorch's own decomposition counts the labels after the first -1, which end a row's list."""
    shape = target.shape
    x, target = torch.atleast_2d(x), torch.atleast_2d(target)
    listed = (target < 0).to(x.dtype).cumsum(-1) == 0
    named = listed[..., None] & (target[..., None] == torch.arange(x.shape[-1], device=x.device))
    is_target = named.any(1)
    margins = 1 - x.gather(-1, target.clamp(min=0))[..., None] + x[:, None]
    counted = listed[..., None] & ~is_target[:, None]
    loss = torch.where(counted, margins.clamp(min=0), 0.0).sum((1, 2)) / x.shape[-1]
    reduced = loss.mean() if reduction == 1 else loss.sum() if reduction == 2 else loss
    if reduction == 0 and len(shape) == 1:
        reduced = reduced[0]
    return reduced, is_target.to(x.dtype).reshape(shape)
