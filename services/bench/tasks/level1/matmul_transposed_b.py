"""Product with the right side transposed, bf16."""

import torch
from torch import nn


class Model(nn.Module):
    def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return torch.matmul(a, b.T)


def get_inputs():
    return [torch.randn(256, 384, dtype=torch.bfloat16), torch.randn(640, 384, dtype=torch.bfloat16)]


def get_init_inputs():
    return []
