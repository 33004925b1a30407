"""Product with both sides transposed."""

import torch
from torch import nn


class Model(nn.Module):
    def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return torch.matmul(a.T, b.T)


def get_inputs():
    return [torch.randn(250, 140), torch.randn(360, 250)]


def get_init_inputs():
    return []
