"""Patches of an image projected and laid out as tokens."""

import torch
from torch import nn


class Model(nn.Module):
    def __init__(self, patch: int, width: int):
        super().__init__()
        self.proj = nn.Conv2d(3, width, patch, stride=patch)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.proj(x).flatten(2).transpose(1, 2)


def get_inputs():
    return [torch.randn(2, 3, 64, 72)]


def get_init_inputs():
    return [8, 140]
