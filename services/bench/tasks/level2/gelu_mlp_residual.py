"""Feed-forward with GELU and a residual, bf16."""

import torch
from torch import nn
from torch.nn import functional as F


class Model(nn.Module):
    def __init__(self, width: int, hidden: int):
        super().__init__()
        self.up = nn.Linear(width, hidden)
        self.down = nn.Linear(hidden, width)
        self.to(torch.bfloat16)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.down(F.gelu(self.up(x), approximate="tanh"))


def get_inputs():
    return [torch.randn(2, 110, 144, dtype=torch.bfloat16)]


def get_init_inputs():
    return [144, 576]
