"""Four branches of convolutions and pooling, joined."""

import torch
from torch import nn


class Model(nn.Module):
    def __init__(self, c_in: int):
        super().__init__()
        self.one = nn.Conv2d(c_in, 24, 1)
        self.three = nn.Sequential(nn.Conv2d(c_in, 16, 1), nn.Conv2d(16, 32, 3, padding=1))
        self.five = nn.Sequential(nn.Conv2d(c_in, 8, 1), nn.Conv2d(8, 12, 5, padding=2))
        self.pool = nn.Sequential(nn.MaxPool2d(3, stride=1, padding=1), nn.Conv2d(c_in, 16, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat((self.one(x), self.three(x), self.five(x), self.pool(x)), dim=1)


def get_inputs():
    return [torch.randn(2, 48, 16, 15)]


def get_init_inputs():
    return [48]
