"""Rotary embedding and grouped-query causal attention with projections."""

import torch
from torch import nn
from torch.nn import functional as F


def rotate(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """The second half, negated, goes before the first."""
    first, second = x.chunk(2, dim=-1)
    return x * cos + torch.cat((-second, first), dim=-1) * sin


class Model(nn.Module):
    def __init__(self, width: int, head: int, heads: int, groups: int):
        super().__init__()
        self.head = head
        self.q_proj = nn.Linear(width, heads * head, bias=False)
        self.k_proj = nn.Linear(width, groups * head, bias=False)
        self.v_proj = nn.Linear(width, groups * head, bias=False)
        self.o_proj = nn.Linear(heads * head, width, bias=False)
        angle = torch.outer(torch.arange(64.0), 10000.0 ** (-torch.arange(0.0, head, 2.0) / head)).repeat(
            1, 2
        )
        self.register_buffer("cos", angle.cos())
        self.register_buffer("sin", angle.sin())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, k, v = (
            proj(x).unflatten(-1, (-1, self.head)).transpose(1, 2)
            for proj in (self.q_proj, self.k_proj, self.v_proj)
        )
        q, k = rotate(q, self.cos, self.sin), rotate(k, self.cos, self.sin)
        k, v = k.repeat_interleave(2, dim=1), v.repeat_interleave(2, dim=1)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.o_proj(y.transpose(1, 2).flatten(2))


def get_inputs():
    return [2.0 * torch.randn(2, 64, 96)]


def get_init_inputs():
    return [96, 24, 4, 2]
