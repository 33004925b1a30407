"""Convolution of a volume, Mish, tanh; the weight is kept as a matrix."""

import torch
from torch import nn
from torch.nn import functional as F


class Model(nn.Module):
    def __init__(self, c_in: int, c_out: int):
        super().__init__()
        self.shape = (c_out, c_in, 3, 3, 3)
        self.weight = nn.Parameter(0.1 * torch.randn(c_out, c_in * 27))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.tanh(F.mish(F.conv3d(x, self.weight.view(self.shape), stride=1, padding=1)))


def get_inputs():
    return [torch.randn(6, 9, 12, 14)]


def get_init_inputs():
    return [6, 14]
