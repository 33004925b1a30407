"""Attention inside windows with a bias for relative places."""

import math

import torch
from torch import nn


class Model(nn.Module):
    def __init__(self, width: int, heads: int, window: int):
        super().__init__()
        self.heads = heads
        self.bias = nn.Parameter(torch.randn(heads, window, window))
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, k, v = (
            part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in self.qkv(x).chunk(3, dim=-1)
        )
        scores = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1]) + self.bias
        return self.proj((torch.softmax(scores, dim=-1) @ v).transpose(1, 2).flatten(2))


def get_inputs():
    return [2.0 * torch.randn(8, 36, 48)]


def get_init_inputs():
    return [48, 3, 36]
