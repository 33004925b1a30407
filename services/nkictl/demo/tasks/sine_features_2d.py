"""Sine features of positions: arguments far outside the range that the hardware's sine takes."""

import torch
import torch.nn as nn


class Model(nn.Module):
    def __init__(self, features: int):
        super().__init__()
        self.frequency = nn.Parameter(torch.linspace(0.1, 5.0, features))

    def forward(self, position: torch.Tensor) -> torch.Tensor:
        return torch.sin(position * self.frequency)


def get_inputs():
    return [10.0 * torch.rand(200, 1)]


def get_init_inputs():
    return [96]
