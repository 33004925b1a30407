"""Selective state space: discretisation and a recurrence over twelve steps."""

import torch
from torch import nn
from torch.nn import functional as F


class Model(nn.Module):
    def __init__(self, channels: int, states: int):
        super().__init__()
        self.log_a = nn.Parameter(torch.randn(channels, states))
        self.d = nn.Parameter(torch.randn(channels))

    def forward(self, x: torch.Tensor, dt: torch.Tensor, b: torch.Tensor, c: torch.Tensor) -> torch.Tensor:
        step = F.softplus(dt)
        h = torch.zeros_like(x[0].unsqueeze(-1) * b[0].unsqueeze(1))
        outputs = []
        for t in range(12):
            decay = torch.exp(-step[t].unsqueeze(-1) * torch.exp(self.log_a))
            h = decay * h + (step[t] * x[t]).unsqueeze(-1) * b[t].unsqueeze(1)
            outputs.append((h * c[t].unsqueeze(1)).sum(dim=-1) + self.d * x[t])
        return torch.stack(outputs)


def get_inputs():
    return [torch.randn(12, 2, 70), torch.randn(12, 2, 70), torch.randn(12, 2, 8), torch.randn(12, 2, 8)]


def get_init_inputs():
    return [70, 8]
