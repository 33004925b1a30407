"""Causal attention with a positive feature map instead of softmax."""

import torch
from torch import nn
from torch.nn import functional as F


class Model(nn.Module):
    def forward(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        q, k = F.elu(q) + 1.0, F.elu(k) + 1.0
        scores = (q @ k.transpose(-1, -2)).tril()
        return (scores @ v) / scores.sum(dim=-1, keepdim=True)


def get_inputs():
    return [torch.randn(2, 3, 80, 32), torch.randn(2, 3, 80, 32), torch.randn(2, 3, 80, 32)]


def get_init_inputs():
    return []
