"""Leaky ReLU of a rank-3 tensor."""

import torch
from torch import nn
from torch.nn import functional as F


class Model(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.leaky_relu(x, negative_slope=0.03)


def get_inputs():
    return [torch.randn(12, 90, 250)]


def get_init_inputs():
    return []
