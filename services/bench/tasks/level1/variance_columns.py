"""Variance over the rows of each column."""

import torch
from torch import nn


class Model(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.var(x, dim=0)


def get_inputs():
    return [torch.randn(500, 280)]


def get_init_inputs():
    return []
