"""Depthwise convolution with a rectangular filter and stride."""

import torch
from torch import nn


class Model(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        self.conv = nn.Conv2d(
            channels, channels, (3, 7), stride=(1, 2), padding=(0, 3), groups=channels, bias=False
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(x)


def get_inputs():
    return [torch.randn(2, 36, 20, 45)]


def get_init_inputs():
    return [36]
