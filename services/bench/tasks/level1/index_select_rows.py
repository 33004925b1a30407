"""Whole rows chosen by one list of indices, bf16."""

import torch
from torch import nn


class Model(nn.Module):
    def forward(self, x: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
        return torch.index_select(x, 0, index)


def get_inputs():
    return [torch.randn(500, 260, dtype=torch.bfloat16), torch.randint(0, 500, (300,))]


def get_init_inputs():
    return []
