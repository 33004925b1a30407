"""Squeeze, then two expansions joined."""

import torch
from torch import nn


class Model(nn.Module):
    def __init__(self, c_in: int, squeezed: int, expanded: int):
        super().__init__()
        self.squeeze = nn.Conv2d(c_in, squeezed, 1)
        self.one = nn.Conv2d(squeezed, expanded, 1)
        self.three = nn.Conv2d(squeezed, expanded, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.relu(self.squeeze(x))
        return torch.cat((torch.relu(self.one(y)), torch.relu(self.three(y))), dim=1)


def get_inputs():
    return [torch.randn(2, 48, 21, 20)]


def get_init_inputs():
    return [48, 12, 32]
