"""Normalisation of each column over the rows."""

import torch
from torch import nn


class Model(nn.Module):
    def __init__(self, columns: int):
        super().__init__()
        self.weight = nn.Parameter(1.0 + 0.3 * torch.randn(columns))
        self.bias = nn.Parameter(torch.randn(columns))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mean = x.mean(dim=0, keepdim=True)
        variance = (x - mean).square().mean(dim=0, keepdim=True)
        return (x - mean) * torch.rsqrt(variance + 1e-5) * self.weight + self.bias


def get_inputs():
    return [3.0 * torch.randn(410, 230)]


def get_init_inputs():
    return [230]
