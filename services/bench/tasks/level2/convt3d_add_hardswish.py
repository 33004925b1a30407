"""Transposed convolution of a volume, addition, product with hard swish; the weight is kept as a matrix."""

import torch
from torch import nn
from torch.nn import functional as F


class Model(nn.Module):
    def __init__(self, c_in: int, c_out: int):
        super().__init__()
        self.shape = (c_in, c_out, 3, 3, 3)
        self.weight = nn.Parameter(0.2 * torch.randn(c_in, c_out * 27))

    def forward(self, x: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        y = F.conv_transpose3d(x, self.weight.view(self.shape), stride=2, padding=1, output_padding=1) + other
        return y * F.hardswish(y)


def get_inputs():
    return [torch.randn(6, 5, 7, 8), torch.randn(10, 10, 14, 16)]


def get_init_inputs():
    return [6, 10]
