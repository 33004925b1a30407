"""Product of two rectangular matrices."""

import torch
from torch import nn


class Model(nn.Module):
    def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return torch.matmul(a, b)


def get_inputs():
    return [torch.randn(200, 320), torch.randn(320, 450)]


def get_init_inputs():
    return []
