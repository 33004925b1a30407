"""Swish of a rank-3 tensor, bf16."""

import torch
from torch import nn


class Model(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * torch.sigmoid(x)


def get_inputs():
    return [torch.randn(16, 100, 200, dtype=torch.bfloat16)]


def get_init_inputs():
    return []
