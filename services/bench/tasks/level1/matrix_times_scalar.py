"""Matrix times a Python scalar."""

import torch
from torch import nn


class Model(nn.Module):
    def forward(self, a: torch.Tensor, s: float) -> torch.Tensor:
        return a * s


def get_inputs():
    return [torch.randn(500, 700), 3.14]


def get_init_inputs():
    return []
