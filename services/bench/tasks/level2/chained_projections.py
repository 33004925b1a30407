"""(A @ B) @ C without leaving the chip, bf16."""

import torch
from torch import nn


class Model(nn.Module):
    def forward(self, a: torch.Tensor, b: torch.Tensor, c: torch.Tensor) -> torch.Tensor:
        return ((0.1 * a) @ b) @ c


def get_inputs():
    return [
        torch.randn(200, 256, dtype=torch.bfloat16),
        torch.randn(256, 96, dtype=torch.bfloat16),
        torch.randn(96, 300, dtype=torch.bfloat16),
    ]


def get_init_inputs():
    return []
