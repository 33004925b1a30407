"""Attention of a decoder to an encoder, with projections."""

import torch
from torch import nn
from torch.nn import functional as F


class Model(nn.Module):
    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width, bias=False)
        self.value = nn.Linear(width, width)

    def forward(self, x: torch.Tensor, memory: torch.Tensor) -> torch.Tensor:
        q, k, v = (
            y.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for y in (self.query(x), self.key(memory), self.value(memory))
        )
        return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)


def get_inputs():
    return [2.0 * torch.randn(2, 50, 96), 2.0 * torch.randn(2, 77, 96)]


def get_init_inputs():
    return [96, 3]
