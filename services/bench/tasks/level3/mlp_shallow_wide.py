"""Two wide hidden layers, bf16."""

import torch
from torch import nn


class Model(nn.Module):
    def __init__(self, features: int, hidden: int, out: int):
        super().__init__()
        self.first = nn.Linear(features, hidden)
        self.second = nn.Linear(hidden, hidden)
        self.third = nn.Linear(hidden, out)
        self.to(torch.bfloat16)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.third(torch.relu(self.second(torch.relu(self.first(x)))))


def get_inputs():
    return [torch.randn(130, 128, dtype=torch.bfloat16)]


def get_init_inputs():
    return [128, 640, 100]
