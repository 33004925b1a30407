"""Transposed convolution of a volume; the weight is kept as a matrix."""

import torch
from torch import nn
from torch.nn import functional as F


class Model(nn.Module):
    def __init__(self, c_in: int, c_out: int, kernel: int):
        super().__init__()
        self.shape = (c_in, c_out, kernel, kernel, kernel)
        self.weight = nn.Parameter(0.1 * torch.randn(c_in, c_out * kernel**3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.conv_transpose3d(x, self.weight.view(self.shape), stride=2, padding=1)


def get_inputs():
    return [torch.randn(8, 7, 10, 9)]


def get_init_inputs():
    return [8, 6, 3]
