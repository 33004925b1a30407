"""The eight largest elements of each row."""

import torch
from torch import nn


class Model(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.topk(x, 8, dim=1).values


def get_inputs():
    return [torch.randn(300, 400)]


def get_init_inputs():
    return []
