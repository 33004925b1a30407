"""Matrix times column vector."""

import torch
from torch import nn


class Model(nn.Module):
    def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return torch.matmul(a, b)


def get_inputs():
    return [torch.randn(700, 900), torch.randn(900, 1)]


def get_init_inputs():
    return []
