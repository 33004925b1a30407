"""Convolution, instance norm, division."""

import torch
from torch import nn


class Model(nn.Module):
    def __init__(self, c_in: int, c_out: int, divisor: float):
        super().__init__()
        self.conv = nn.Conv2d(c_in, c_out, 3, bias=False)
        self.norm = nn.InstanceNorm2d(c_out)
        self.divisor = divisor

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(self.conv(x)) / self.divisor


def get_inputs():
    return [torch.randn(2, 9, 24, 21)]


def get_init_inputs():
    return [9, 28, 1.7]
