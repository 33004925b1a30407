"""Convolution, group norm, scale, max pooling, clamp."""

import torch
from torch import nn
from torch.nn import functional as F


class Model(nn.Module):
    def __init__(self, c_in: int, c_out: int, groups: int):
        super().__init__()
        self.conv = nn.Conv2d(c_in, c_out, 3)
        self.norm = nn.GroupNorm(groups, c_out)
        self.scale = nn.Parameter(torch.randn(c_out, 1, 1))
        # Norms start at one and zero, biases near zero; none of them shall be without effect.
        for parameter in self.parameters():
            if parameter.dim() == 1:
                parameter.data += 0.3 * torch.randn_like(parameter)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.clamp(F.max_pool2d(self.norm(self.conv(x)) * self.scale, 2), -0.5, 2.0)


def get_inputs():
    return [torch.randn(2, 8, 22, 24)]


def get_init_inputs():
    return [8, 32, 8]
