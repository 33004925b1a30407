"""Weighted values, heads merged, output projection."""

import torch
from torch import nn


class Model(nn.Module):
    def __init__(self, heads: int, head: int):
        super().__init__()
        self.out = nn.Linear(heads * head, heads * head)

    def forward(self, weights: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        return self.out((weights @ v).transpose(1, 2).flatten(2))


def get_inputs():
    return [torch.softmax(2.0 * torch.randn(2, 4, 70, 90), dim=-1), 2.0 * torch.randn(2, 4, 90, 40)]


def get_init_inputs():
    return [4, 40]
