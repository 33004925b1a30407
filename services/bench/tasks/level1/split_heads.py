"""Hidden states split into attention heads, bf16."""

import torch
from torch import nn


class Model(nn.Module):
    def __init__(self, heads: int):
        super().__init__()
        self.heads = heads

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2).contiguous()


def get_inputs():
    return [torch.randn(3, 110, 192, dtype=torch.bfloat16)]


def get_init_inputs():
    return [6]
