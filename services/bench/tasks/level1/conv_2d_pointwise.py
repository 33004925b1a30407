"""Pointwise convolution, bf16."""

import torch
from torch import nn


class Model(nn.Module):
    def __init__(self, c_in: int, c_out: int):
        super().__init__()
        self.conv = nn.Conv2d(c_in, c_out, 1)
        self.to(torch.bfloat16)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(x)


def get_inputs():
    return [torch.randn(2, 64, 24, 24, dtype=torch.bfloat16)]


def get_init_inputs():
    return [64, 150]
