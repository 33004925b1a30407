"""RMS norm, rotary grouped-query attention, SwiGLU, bf16."""

import torch
from torch import nn
from torch.nn import functional as F


def rotate(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """The second half, negated, goes before the first."""
    first, second = x.chunk(2, dim=-1)
    return x * cos + torch.cat((-second, first), dim=-1) * sin


class Model(nn.Module):
    def __init__(self, width: int, head: int, heads: int, hidden: int):
        super().__init__()
        self.head = head
        self.norm1 = nn.Parameter(torch.rand(width) + 0.5)
        self.norm2 = nn.Parameter(torch.rand(width) + 0.5)
        self.q_proj = nn.Linear(width, heads * head, bias=False)
        self.kv_proj = nn.Linear(width, heads * head, bias=False)
        self.o_proj = nn.Linear(heads * head, width, bias=False)
        self.gate = nn.Linear(width, hidden, bias=False)
        self.up = nn.Linear(width, hidden, bias=False)
        self.down = nn.Linear(hidden, width, bias=False)
        angle = torch.outer(torch.arange(50.0), 10000.0 ** (-torch.arange(0.0, head, 2.0) / head)).repeat(
            1, 2
        )
        self.register_buffer("cos", angle.cos())
        self.register_buffer("sin", angle.sin())
        self.to(torch.bfloat16)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = F.rms_norm(x, (x.shape[-1],), self.norm1, 1e-5)
        q = rotate(self.q_proj(y).unflatten(-1, (-1, self.head)).transpose(1, 2), self.cos, self.sin)
        k, v = self.kv_proj(y).unflatten(-1, (-1, self.head)).transpose(1, 2).chunk(2, dim=1)
        k = rotate(k, self.cos, self.sin).repeat_interleave(2, dim=1)
        y = F.scaled_dot_product_attention(q, k, v.repeat_interleave(2, dim=1), is_causal=True)
        x = x + self.o_proj(y.transpose(1, 2).flatten(2))
        y = F.rms_norm(x, (x.shape[-1],), self.norm2, 1e-5)
        return x + self.down(F.silu(self.gate(y)) * self.up(y))


def get_inputs():
    return [torch.randn(2, 50, 96, dtype=torch.bfloat16)]


def get_init_inputs():
    return [96, 24, 4, 192]
