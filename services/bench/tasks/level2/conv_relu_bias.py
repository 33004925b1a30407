"""Convolution, ReLU, a bias for each channel."""

import torch
from torch import nn


class Model(nn.Module):
    def __init__(self, c_in: int, c_out: int):
        super().__init__()
        self.conv = nn.Conv2d(c_in, c_out, 3)
        self.bias = nn.Parameter(torch.randn(c_out, 1, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.conv(x)) + self.bias


def get_inputs():
    return [torch.randn(2, 12, 26, 26)]


def get_init_inputs():
    return [12, 36]
