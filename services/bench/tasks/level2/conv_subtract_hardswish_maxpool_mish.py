"""Convolution, subtraction, hard swish, max pooling, Mish, bf16."""

import torch
from torch import nn
from torch.nn import functional as F


class Model(nn.Module):
    def __init__(self, c_in: int, c_out: int):
        super().__init__()
        self.conv = nn.Conv2d(c_in, c_out, 3)
        self.to(torch.bfloat16)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.mish(F.max_pool2d(F.hardswish(self.conv(2.0 * x) - 0.25), 2))


def get_inputs():
    return [torch.randn(2, 16, 22, 22, dtype=torch.bfloat16)]


def get_init_inputs():
    return [16, 32]
