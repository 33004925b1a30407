"""Three linear layers with ReLU."""

import torch
from torch import nn


class Model(nn.Module):
    def __init__(self, features: int, hidden: int, out: int):
        super().__init__()
        self.first = nn.Linear(features, hidden)
        self.second = nn.Linear(hidden, hidden)
        self.third = nn.Linear(hidden, out)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.third(torch.relu(self.second(torch.relu(self.first(x)))))


def get_inputs():
    return [torch.randn(150, 200)]


def get_init_inputs():
    return [200, 300, 120]
