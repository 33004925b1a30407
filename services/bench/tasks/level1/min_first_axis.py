"""Minimum over the first axis."""

import torch
from torch import nn


class Model(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.min(x, dim=0).values


def get_inputs():
    return [torch.randn(60, 90, 75)]


def get_init_inputs():
    return []
