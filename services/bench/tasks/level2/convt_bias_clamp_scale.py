"""Transposed convolution, bias, clamp, scaling, clamp, division."""

import torch
from torch import nn


class Model(nn.Module):
    def __init__(self, c_in: int, c_out: int, scale: float):
        super().__init__()
        self.conv = nn.ConvTranspose2d(c_in, c_out, 3, stride=2, padding=1, output_padding=1)
        self.bias = nn.Parameter(0.5 * torch.randn(c_out, 1, 1))
        self.scale = scale

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.clamp(self.conv(x) + self.bias, -0.2, 1.0)
        return torch.clamp(y * self.scale, -0.3, 1.5) / self.scale


def get_inputs():
    return [torch.randn(2, 16, 12, 13)]


def get_init_inputs():
    return [16, 20, 2.0]
