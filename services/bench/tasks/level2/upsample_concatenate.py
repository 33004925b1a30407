"""Transposed convolution joined with a skip connection."""

import torch
from torch import nn


class Model(nn.Module):
    def __init__(self, c_in: int, c_out: int):
        super().__init__()
        self.up = nn.ConvTranspose2d(c_in, c_out, 2, stride=2)

    def forward(self, x: torch.Tensor, skip: torch.Tensor) -> torch.Tensor:
        return torch.cat((skip, self.up(x)), dim=1)


def get_inputs():
    return [torch.randn(2, 32, 11, 13), torch.randn(2, 20, 22, 26)]


def get_init_inputs():
    return [32, 16]
