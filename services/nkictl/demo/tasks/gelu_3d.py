"""Exact GELU on a batch of sequences; 200 positions are not a multiple of 128."""

import torch
import torch.nn as nn


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.act = nn.GELU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.act(x)


def get_inputs():
    return [torch.randn(4, 200, 256)]


def get_init_inputs():
    return []
