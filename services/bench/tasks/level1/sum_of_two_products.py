"""Sum of two matrix products."""

import torch
from torch import nn


class Model(nn.Module):
    def forward(self, a: torch.Tensor, b: torch.Tensor, c: torch.Tensor, d: torch.Tensor) -> torch.Tensor:
        return a @ b + c @ d


def get_inputs():
    return [torch.randn(200, 180), torch.randn(180, 400), torch.randn(200, 300), torch.randn(300, 400)]


def get_init_inputs():
    return []
