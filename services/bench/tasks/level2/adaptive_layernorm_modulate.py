"""Layer norm scaled and shifted by a condition."""

import torch
from torch import nn
from torch.nn import functional as F


class Model(nn.Module):
    def __init__(self, width: int, condition: int):
        super().__init__()
        self.modulation = nn.Linear(condition, 2 * width)

    def forward(self, x: torch.Tensor, c: torch.Tensor) -> torch.Tensor:
        shift, scale = self.modulation(F.silu(c)).unsqueeze(1).chunk(2, dim=-1)
        return F.layer_norm(x, (180,)) * (1 + scale) + shift


def get_inputs():
    return [torch.randn(2, 64, 180), 3.0 * torch.randn(2, 100)]


def get_init_inputs():
    return [180, 100]
