"""Convolution of a volume; the weight is kept as a matrix."""

import torch
from torch import nn
from torch.nn import functional as F


class Model(nn.Module):
    def __init__(self, c_in: int, c_out: int, kernel: int):
        super().__init__()
        self.shape = (c_out, c_in, kernel, kernel, kernel)
        self.weight = nn.Parameter(0.1 * torch.randn(c_out, c_in * kernel**3))
        self.bias = nn.Parameter(torch.randn(c_out))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.conv3d(x, self.weight.view(self.shape), self.bias)


def get_inputs():
    return [torch.randn(6, 10, 14, 14)]


def get_init_inputs():
    return [6, 20, 3]
