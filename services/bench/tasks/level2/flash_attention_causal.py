"""Causal attention over a long sequence."""

import torch
from torch import nn
from torch.nn import functional as F


class Model(nn.Module):
    def forward(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        return F.scaled_dot_product_attention(q, k, v, is_causal=True)


def get_inputs():
    return [torch.randn(1, 2, 520, 64), torch.randn(1, 2, 520, 64), torch.randn(1, 2, 520, 64)]


def get_init_inputs():
    return []
