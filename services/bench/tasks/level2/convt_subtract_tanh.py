"""Transposed convolution, subtraction of a bias, tanh."""

import torch
from torch import nn


class Model(nn.Module):
    def __init__(self, c_in: int, c_out: int):
        super().__init__()
        self.conv = nn.ConvTranspose2d(c_in, c_out, 4, stride=2, padding=1)
        self.bias = nn.Parameter(torch.randn(c_out, 1, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.tanh(self.conv(x) - self.bias)


def get_inputs():
    return [torch.randn(2, 20, 14, 14)]


def get_init_inputs():
    return [20, 12]
