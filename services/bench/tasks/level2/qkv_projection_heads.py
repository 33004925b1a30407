"""One projection split into query, key and value heads, bf16."""

import torch
from torch import nn


class Model(nn.Module):
    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.to(torch.bfloat16)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        q, k, v = self.qkv(x).unflatten(-1, (3 * self.heads, -1)).transpose(1, 2).chunk(3, dim=1)
        return q, k, v


def get_inputs():
    return [torch.randn(2, 70, 144, dtype=torch.bfloat16)]


def get_init_inputs():
    return [144, 4]
