"""First-order recurrence h[t] = a[t] * h[t-1] + b[t]."""

import torch
from torch import nn


class Model(nn.Module):
    def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        h = torch.zeros_like(b[:, 0])
        states = []
        for t in range(b.shape[1]):
            h = a[:, t] * h + b[:, t]
            states.append(h)
        return torch.stack(states, dim=1)


def get_inputs():
    return [torch.rand(200, 40), torch.randn(200, 40)]


def get_init_inputs():
    return []
