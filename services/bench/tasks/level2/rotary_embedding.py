"""Rotary embedding of interleaved pairs."""

import torch
from torch import nn


class Model(nn.Module):
    def forward(self, x: torch.Tensor, angles: torch.Tensor) -> torch.Tensor:
        even, odd = x[..., 0::2], x[..., 1::2]
        cos, sin = torch.cos(angles), torch.sin(angles)
        return torch.stack((even * cos - odd * sin, even * sin + odd * cos), dim=-1).flatten(-2)


def get_inputs():
    return [torch.randn(2, 4, 75, 64), torch.randn(75, 32)]


def get_init_inputs():
    return []
