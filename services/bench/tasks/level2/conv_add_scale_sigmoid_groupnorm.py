"""Convolution, bias, scale, sigmoid, group norm."""

import torch
from torch import nn


class Model(nn.Module):
    def __init__(self, c_in: int, c_out: int, groups: int):
        super().__init__()
        self.conv = nn.Conv2d(c_in, c_out, 3)
        self.bias = nn.Parameter(torch.randn(c_out, 1, 1))
        self.scale = nn.Parameter(1.0 + 0.5 * torch.randn(c_out, 1, 1))
        self.norm = nn.GroupNorm(groups, c_out)
        # Norms start at one and zero, biases near zero; none of them shall be without effect.
        for parameter in self.parameters():
            if parameter.dim() == 1:
                parameter.data += 0.3 * torch.randn_like(parameter)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(torch.sigmoid((self.conv(x) + self.bias) * self.scale))


def get_inputs():
    return [torch.randn(2, 8, 20, 22)]


def get_init_inputs():
    return [8, 32, 8]
