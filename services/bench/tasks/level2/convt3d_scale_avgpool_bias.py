"""Transposed convolution of a volume, factor, average pooling, bias; the weight is kept as a matrix."""

import torch
from torch import nn
from torch.nn import functional as F


class Model(nn.Module):
    def __init__(self, c_in: int, c_out: int):
        super().__init__()
        self.shape = (c_in, c_out, 3, 3, 3)
        self.weight = nn.Parameter(0.3 * torch.randn(c_in, c_out * 27))
        self.bias = nn.Parameter(torch.randn(c_out, 1, 1, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = F.conv_transpose3d(x, self.weight.view(self.shape), stride=2, padding=1) * 0.5
        return (F.avg_pool3d(y, 2) + self.bias) * 1.5


def get_inputs():
    return [torch.randn(4, 6, 9, 8)]


def get_init_inputs():
    return [4, 12]
