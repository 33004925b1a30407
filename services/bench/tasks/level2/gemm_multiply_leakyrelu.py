"""Linear, factor, leaky ReLU, bf16."""

import torch
from torch import nn
from torch.nn import functional as F


class Model(nn.Module):
    def __init__(self, features: int, out: int):
        super().__init__()
        self.linear = nn.Linear(features, out)
        self.to(torch.bfloat16)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.leaky_relu(self.linear(x) * 2.0, 0.1)


def get_inputs():
    return [torch.randn(200, 256, dtype=torch.bfloat16)]


def get_init_inputs():
    return [256, 320]
