"""RMS norms, attention with position bias, gated feed-forward."""

import torch
from torch import nn
from torch.nn import functional as F


class Model(nn.Module):
    def __init__(self, width: int, heads: int, length: int):
        super().__init__()
        self.heads = heads
        self.norm1 = nn.Parameter(torch.rand(width) + 0.5)
        self.norm2 = nn.Parameter(torch.rand(width) + 0.5)
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.bias = nn.Parameter(torch.randn(heads, length, length))
        self.out = nn.Linear(width, width, bias=False)
        self.gate = nn.Linear(width, 2 * width, bias=False)
        self.up = nn.Linear(width, 2 * width, bias=False)
        self.down = nn.Linear(2 * width, width, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = F.rms_norm(x, (x.shape[-1],), self.norm1, 1e-6)
        q, k, v = (
            part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in self.qkv(y).chunk(3, dim=-1)
        )
        y = torch.softmax(q @ k.transpose(-1, -2) + self.bias, dim=-1) @ v
        x = x + self.out(y.transpose(1, 2).flatten(2))
        y = F.rms_norm(x, (x.shape[-1],), self.norm2, 1e-6)
        return x + self.down(F.gelu(self.gate(y), approximate="tanh") * self.up(y))


def get_inputs():
    return [torch.randn(2, 50, 64)]


def get_init_inputs():
    return [64, 2, 50]
