"""Rank-3 tensor times matrix."""

import torch
from torch import nn


class Model(nn.Module):
    def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return torch.matmul(a, b)


def get_inputs():
    return [torch.randn(5, 70, 150), torch.randn(150, 90)]


def get_init_inputs():
    return []
