"""Attention over many keys with a padding mask."""

import torch
from torch import nn
from torch.nn import functional as F


class Model(nn.Module):
    def forward(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)


def get_inputs():
    return [
        torch.randn(2, 2, 130, 64),
        torch.randn(2, 2, 640, 64),
        torch.randn(2, 2, 640, 64),
        torch.where(torch.rand(2, 1, 1, 640) < 0.2, -30000.0, torch.randn(2, 1, 1, 640)),
    ]


def get_init_inputs():
    return []
