"""Attention over the pixels of a map, residual and layer norm."""

import torch
from torch import nn
from torch.nn import functional as F


class Model(nn.Module):
    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width)
        # Norms start at one and zero, biases near zero; none of them shall be without effect.
        for parameter in self.parameters():
            if parameter.dim() == 1:
                parameter.data += 0.3 * torch.randn_like(parameter)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = x.flatten(2).transpose(1, 2)
        q, k, v = (
            part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in self.qkv(y).chunk(3, dim=-1)
        )
        z = self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        return self.norm(y + z).transpose(1, 2).reshape(x.shape)


def get_inputs():
    return [2.0 * torch.randn(2, 48, 10, 12)]


def get_init_inputs():
    return [48, 4]
