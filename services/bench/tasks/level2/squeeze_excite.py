"""Channels weighted by a small network on their means."""

import torch
from torch import nn
from torch.nn import functional as F


class Model(nn.Module):
    def __init__(self, channels: int, squeezed: int):
        super().__init__()
        self.reduce = nn.Conv2d(channels, squeezed, 1)
        self.expand = nn.Conv2d(squeezed, channels, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        scale = x.mean(dim=(2, 3), keepdim=True)
        return x * torch.sigmoid(2.0 * self.expand(F.silu(self.reduce(scale))))


def get_inputs():
    return [torch.randn(3, 60, 18, 18) + 2.0 * torch.randn(3, 60, 1, 1)]


def get_init_inputs():
    return [60, 15]
