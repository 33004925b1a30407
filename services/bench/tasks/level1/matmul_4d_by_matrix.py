"""Rank-4 tensor times matrix, as an einsum."""

import torch
from torch import nn


class Model(nn.Module):
    def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return torch.einsum("bijl,lk->bijk", a, b)


def get_inputs():
    return [torch.randn(3, 10, 14, 96), torch.randn(96, 70)]


def get_init_inputs():
    return []
