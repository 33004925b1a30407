"""Scaled scores with an additive mask and their softmax."""

import math

import torch
from torch import nn


class Model(nn.Module):
    def forward(self, q: torch.Tensor, k: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        return torch.softmax(q @ k.transpose(-1, -2) / math.sqrt(48) + mask, dim=-1)


def get_inputs():
    return [
        torch.randn(2, 3, 90, 48),
        torch.randn(2, 3, 110, 48),
        torch.where(torch.rand(2, 1, 1, 110) < 0.3, -10000.0, torch.randn(2, 1, 1, 110)),
    ]


def get_init_inputs():
    return []
