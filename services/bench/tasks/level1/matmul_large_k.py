"""Product with a long contraction."""

import torch
from torch import nn


class Model(nn.Module):
    def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return torch.matmul(a, b)


def get_inputs():
    return [torch.randn(96, 4000), torch.randn(4000, 80)]


def get_init_inputs():
    return []
