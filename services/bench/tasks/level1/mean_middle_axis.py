"""Mean over the middle axis, bf16."""

import torch
from torch import nn


class Model(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.mean(x, dim=1)


def get_inputs():
    return [torch.randn(10, 100, 160, dtype=torch.bfloat16)]


def get_init_inputs():
    return []
