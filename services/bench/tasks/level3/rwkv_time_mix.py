"""Token shift, receptance and a decaying weighted mean over ten steps."""

import torch
from torch import nn


class Model(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.mix = nn.Parameter(torch.rand(3, width))
        self.decay = nn.Parameter(torch.rand(width))
        self.key = nn.Linear(width, width, bias=False)
        self.value = nn.Linear(width, width, bias=False)
        self.receptance = nn.Linear(width, width, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        shifted = torch.cat((torch.zeros_like(x[:1]), x[:-1]), dim=0)
        r, k, v = (x * mix + shifted * (1 - mix) for mix in self.mix.unbind(0))
        k, v = torch.exp(torch.clamp(self.key(k), max=4.0)), self.value(v)
        total, weight = torch.zeros_like(v[0]), torch.zeros_like(k[0])
        outputs = []
        for t in range(10):
            total = total * torch.exp(-self.decay) + k[t] * v[t]
            weight = weight * torch.exp(-self.decay) + k[t]
            outputs.append(total / (weight + 1e-6))
        return torch.sigmoid(self.receptance(r)) * torch.stack(outputs)


def get_inputs():
    return [2.0 * torch.randn(10, 20, 64)]


def get_init_inputs():
    return [64]
