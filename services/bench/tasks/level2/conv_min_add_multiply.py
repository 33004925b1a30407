"""Convolution, minimum with a constant, bias, factor."""

import torch
from torch import nn


class Model(nn.Module):
    def __init__(self, c_in: int, c_out: int, bound: float, factor: float):
        super().__init__()
        self.conv = nn.Conv2d(c_in, c_out, 3)
        self.bias = nn.Parameter(torch.randn(c_out, 1, 1))
        self.bound = bound
        self.factor = factor

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (torch.clamp(self.conv(x), max=self.bound) + self.bias) * self.factor


def get_inputs():
    return [torch.randn(2, 12, 23, 23)]


def get_init_inputs():
    return [12, 40, 0.3, 2.0]
