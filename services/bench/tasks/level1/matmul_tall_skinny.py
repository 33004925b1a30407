"""Outer-product-like product of tall matrices, bf16."""

import torch
from torch import nn


class Model(nn.Module):
    def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return torch.matmul(a, b)


def get_inputs():
    return [torch.randn(1100, 24, dtype=torch.bfloat16), torch.randn(24, 900, dtype=torch.bfloat16)]


def get_init_inputs():
    return []
