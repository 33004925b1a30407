"""Product with a short contraction."""

import torch
from torch import nn


class Model(nn.Module):
    def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return torch.matmul(a, b)


def get_inputs():
    return [torch.randn(600, 20), torch.randn(20, 500)]


def get_init_inputs():
    return []
