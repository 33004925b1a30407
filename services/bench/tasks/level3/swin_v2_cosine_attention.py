"""Attention by cosines with a learned temperature for each head."""

import torch
from torch import nn
from torch.nn import functional as F


class Model(nn.Module):
    def __init__(self, heads: int):
        super().__init__()
        self.temperature = nn.Parameter(1.0 + 0.5 * torch.rand(heads, 1, 1))

    def forward(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        scores = F.normalize(q, dim=-1) @ F.normalize(k, dim=-1).transpose(-1, -2)
        return torch.softmax(scores * torch.exp(self.temperature), dim=-1) @ v


def get_inputs():
    return [torch.randn(6, 3, 49, 24), torch.randn(6, 3, 49, 24), torch.randn(6, 3, 49, 24)]


def get_init_inputs():
    return [3]
