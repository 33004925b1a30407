"""Rows reversed and columns rotated."""

import torch
from torch import nn


class Model(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.roll(torch.flip(x, (0,)), shifts=100, dims=1)


def get_inputs():
    return [torch.randn(280, 333)]


def get_init_inputs():
    return []
