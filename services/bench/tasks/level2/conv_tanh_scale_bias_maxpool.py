"""Convolution, tanh, factor, bias, max pooling."""

import torch
from torch import nn
from torch.nn import functional as F


class Model(nn.Module):
    def __init__(self, c_in: int, c_out: int, factor: float):
        super().__init__()
        self.conv = nn.Conv2d(c_in, c_out, 3)
        self.bias = nn.Parameter(torch.randn(c_out, 1, 1))
        self.factor = factor

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.max_pool2d(torch.tanh(self.conv(x)) * self.factor + self.bias, 4)


def get_inputs():
    return [torch.randn(2, 8, 26, 26)]


def get_init_inputs():
    return [8, 28, 2.0]
