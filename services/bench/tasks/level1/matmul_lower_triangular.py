"""Lower triangle of a product of lower triangular matrices."""

import torch
from torch import nn


class Model(nn.Module):
    def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return torch.tril(torch.matmul(a, b))


def get_inputs():
    return [torch.tril(torch.randn(270, 270)), torch.tril(torch.randn(270, 270))]


def get_init_inputs():
    return []
