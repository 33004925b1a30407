"""Convolution of a volume, four activations, bias; the weight is kept as a matrix."""

import torch
from torch import nn
from torch.nn import functional as F


class Model(nn.Module):
    def __init__(self, c_in: int, c_out: int):
        super().__init__()
        self.shape = (c_out, c_in, 3, 3, 3)
        self.weight = nn.Parameter(0.2 * torch.randn(c_out, c_in * 27))
        self.bias = nn.Parameter(torch.randn(c_out, 1, 1, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.relu(F.conv3d(x, self.weight.view(self.shape)))
        return torch.sigmoid(F.gelu(F.leaky_relu(y, 0.01))) + self.bias


def get_inputs():
    return [torch.randn(5, 9, 13, 12)]


def get_init_inputs():
    return [5, 18]
