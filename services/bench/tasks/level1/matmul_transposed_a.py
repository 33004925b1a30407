"""Product with the left side transposed."""

import torch
from torch import nn


class Model(nn.Module):
    def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return torch.matmul(a.T, b)


def get_inputs():
    return [torch.randn(320, 210), torch.randn(320, 330)]


def get_init_inputs():
    return []
