"""Transposed convolution, GELU, group norm."""

import torch
from torch import nn
from torch.nn import functional as F


class Model(nn.Module):
    def __init__(self, c_in: int, c_out: int, groups: int):
        super().__init__()
        self.conv = nn.ConvTranspose2d(c_in, c_out, 3, stride=1)
        self.norm = nn.GroupNorm(groups, c_out)
        # Norms start at one and zero, biases near zero; none of them shall be without effect.
        for parameter in self.parameters():
            if parameter.dim() == 1:
                parameter.data += 0.3 * torch.randn_like(parameter)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(F.gelu(self.conv(x)))


def get_inputs():
    return [torch.randn(2, 14, 16, 17)]


def get_init_inputs():
    return [14, 24, 6]
