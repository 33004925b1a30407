"""Upper triangle of a product of upper triangular matrices."""

import torch
from torch import nn


class Model(nn.Module):
    def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return torch.triu(torch.matmul(a, b))


def get_inputs():
    return [torch.triu(torch.randn(290, 290)), torch.triu(torch.randn(290, 290))]


def get_init_inputs():
    return []
