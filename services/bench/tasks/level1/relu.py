"""ReLU of a rank-4 tensor."""

import torch
from torch import nn


class Model(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(x)


def get_inputs():
    return [torch.randn(8, 16, 30, 30)]


def get_init_inputs():
    return []
