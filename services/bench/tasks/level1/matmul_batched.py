"""Batched matrix product."""

import torch
from torch import nn


class Model(nn.Module):
    def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return torch.bmm(a, b)


def get_inputs():
    return [torch.randn(6, 100, 96), torch.randn(6, 96, 130)]


def get_init_inputs():
    return []
