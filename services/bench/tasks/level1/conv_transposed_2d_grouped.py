"""Transposed convolution with stride, padding, groups and dilation."""

import torch
from torch import nn


class Model(nn.Module):
    def __init__(self, c_in: int, c_out: int, groups: int):
        super().__init__()
        self.conv = nn.ConvTranspose2d(
            c_in, c_out, (3, 5), stride=(2, 3), padding=(1, 2), dilation=(2, 1), groups=groups
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(x)


def get_inputs():
    return [torch.randn(2, 16, 14, 11)]


def get_init_inputs():
    return [16, 32, 4]
