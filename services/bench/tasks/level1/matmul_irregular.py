"""Product of matrices with ragged extents."""

import torch
from torch import nn


class Model(nn.Module):
    def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return torch.matmul(a, b)


def get_inputs():
    return [torch.randn(333, 217), torch.randn(217, 411)]


def get_init_inputs():
    return []
