"""Long contraction, bias and GELU, bf16."""

import torch
from torch import nn
from torch.nn import functional as F


class Model(nn.Module):
    def __init__(self, k: int, n: int):
        super().__init__()
        self.linear = nn.Linear(k, n)
        self.to(torch.bfloat16)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.gelu(self.linear(2.0 * x))


def get_inputs():
    return [torch.randn(150, 1000, dtype=torch.bfloat16)]


def get_init_inputs():
    return [1000, 200]
