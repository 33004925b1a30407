"""Hard tanh of a matrix, bf16."""

import torch
from torch import nn
from torch.nn import functional as F


class Model(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.hardtanh(x, min_val=-0.8, max_val=1.1)


def get_inputs():
    return [torch.randn(384, 600, dtype=torch.bfloat16)]


def get_init_inputs():
    return []
