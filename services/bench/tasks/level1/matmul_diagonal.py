"""Diagonal matrix times matrix."""

import torch
from torch import nn


class Model(nn.Module):
    def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return torch.diag(a) @ b


def get_inputs():
    return [torch.randn(300), torch.randn(300, 410)]


def get_init_inputs():
    return []
