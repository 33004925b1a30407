"""Linear and Mish twice."""

import torch
from torch import nn
from torch.nn import functional as F


class Model(nn.Module):
    def __init__(self, features: int, out: int):
        super().__init__()
        self.linear = nn.Linear(features, out)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.mish(F.mish(2.0 * self.linear(x)))


def get_inputs():
    return [torch.randn(130, 270)]


def get_init_inputs():
    return [270, 200]
