"""Upsampling by a transposed convolution, skip connection, convolution."""

import torch
from torch import nn
from torch.nn import functional as F


class Model(nn.Module):
    def __init__(self, c_in: int, c_out: int):
        super().__init__()
        self.up = nn.ConvTranspose2d(c_in, c_out, 2, stride=2)
        self.conv = nn.Conv2d(2 * c_out, c_out, 3, padding=1)
        self.norm = nn.GroupNorm(4, c_out)
        # Norms start at one and zero, biases near zero; none of them shall be without effect.
        for parameter in self.parameters():
            if parameter.dim() == 1:
                parameter.data += 0.3 * torch.randn_like(parameter)

    def forward(self, x: torch.Tensor, skip: torch.Tensor) -> torch.Tensor:
        return F.silu(self.norm(self.conv(torch.cat((skip, self.up(x)), dim=1))))


def get_inputs():
    return [torch.randn(2, 32, 9, 11), torch.randn(2, 16, 18, 22)]


def get_init_inputs():
    return [32, 16]
