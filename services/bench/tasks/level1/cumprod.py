"""Running product along rows of numbers near one."""

import torch
from torch import nn


class Model(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cumprod(x, dim=1)


def get_inputs():
    return [1.0 + 0.1 * torch.randn(150, 300)]


def get_init_inputs():
    return []
