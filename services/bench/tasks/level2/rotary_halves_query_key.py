"""Rotary embedding by halves, of query and key."""

import torch
from torch import nn


def rotate(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """The second half, negated, goes before the first."""
    first, second = x.chunk(2, dim=-1)
    return x * cos + torch.cat((-second, first), dim=-1) * sin


class Model(nn.Module):
    def forward(
        self, q: torch.Tensor, k: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        return rotate(q, cos, sin), rotate(k, cos, sin)


def get_inputs():
    return [torch.randn(2, 6, 60, 48), torch.randn(2, 2, 60, 48), torch.randn(60, 48), torch.randn(60, 48)]


def get_init_inputs():
    return []
