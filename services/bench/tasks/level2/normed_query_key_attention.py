"""Attention with RMS-normed queries and keys, bf16."""

import torch
from torch import nn
from torch.nn import functional as F


class Model(nn.Module):
    def __init__(self, head: int):
        super().__init__()
        self.q_scale = nn.Parameter(1.0 + 0.3 * torch.randn(head))
        self.k_scale = nn.Parameter(1.0 + 0.3 * torch.randn(head))
        self.to(torch.bfloat16)

    def forward(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        q = F.rms_norm(q, (64,), self.q_scale, 1e-6)
        k = F.rms_norm(k, (64,), self.k_scale, 1e-6)
        return F.scaled_dot_product_attention(q, k, v)


def get_inputs():
    return [
        torch.randn(2, 3, 100, 64, dtype=torch.bfloat16),
        torch.randn(2, 3, 100, 64, dtype=torch.bfloat16),
        torch.randn(2, 3, 100, 64, dtype=torch.bfloat16),
    ]


def get_init_inputs():
    return [64]
