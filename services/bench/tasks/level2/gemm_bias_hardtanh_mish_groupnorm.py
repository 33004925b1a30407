"""Product, bias, hard tanh, Mish, group norm."""

import torch
from torch import nn
from torch.nn import functional as F


class Model(nn.Module):
    def __init__(self, features: int, out: int, groups: int):
        super().__init__()
        self.linear = nn.Linear(features, out, bias=False)
        self.bias = nn.Parameter(torch.randn(out))
        self.norm = nn.GroupNorm(groups, out)
        # Norms start at one and zero, biases near zero; none of them shall be without effect.
        for parameter in self.parameters():
            if parameter.dim() == 1:
                parameter.data += 0.3 * torch.randn_like(parameter)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(F.mish(F.hardtanh(self.linear(x) + self.bias)))


def get_inputs():
    return [torch.randn(120, 180)]


def get_init_inputs():
    return [180, 256, 16]
