"""Bottleneck with a grouped convolution."""

import torch
from torch import nn


class Model(nn.Module):
    def __init__(self, channels: int, group: int):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, groups=channels // group)
        self.conv3 = nn.Conv2d(channels, channels, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.relu(self.conv2(torch.relu(self.conv1(x))))
        return torch.relu(x + self.conv3(y))


def get_inputs():
    return [torch.randn(2, 48, 15, 14)]


def get_init_inputs():
    return [48, 16]
