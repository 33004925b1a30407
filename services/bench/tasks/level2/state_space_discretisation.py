"""Decay and input of a state space from its step size."""

import torch
from torch import nn
from torch.nn import functional as F


class Model(nn.Module):
    def __init__(self, channels: int, states: int):
        super().__init__()
        self.log_a = nn.Parameter(torch.randn(channels, states))
        self.bias = nn.Parameter(torch.randn(channels))

    def forward(
        self, x: torch.Tensor, dt: torch.Tensor, b: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        step = F.softplus(dt + self.bias)
        decay = torch.exp(-step.unsqueeze(-1) * torch.exp(self.log_a))
        change = (step * x).unsqueeze(-1) * b.unsqueeze(2)
        return decay, change


def get_inputs():
    return [torch.randn(2, 40, 60), torch.randn(2, 40, 60), torch.randn(2, 40, 8)]


def get_init_inputs():
    return [60, 8]
