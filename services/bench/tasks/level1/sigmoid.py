"""Sigmoid of a matrix."""

import torch
from torch import nn


class Model(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.sigmoid(2.0 * x)


def get_inputs():
    return [torch.randn(300, 1000)]


def get_init_inputs():
    return []
