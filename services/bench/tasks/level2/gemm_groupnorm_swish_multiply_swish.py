"""Linear, group norm, swish, scale, swish."""

import torch
from torch import nn
from torch.nn import functional as F


class Model(nn.Module):
    def __init__(self, features: int, out: int, groups: int):
        super().__init__()
        self.linear = nn.Linear(features, out)
        self.norm = nn.GroupNorm(groups, out)
        self.scale = nn.Parameter(torch.randn(out))
        # Norms start at one and zero, biases near zero; none of them shall be without effect.
        for parameter in self.parameters():
            if parameter.dim() == 1:
                parameter.data += 0.3 * torch.randn_like(parameter)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.silu(F.silu(self.norm(self.linear(x))) * self.scale)


def get_inputs():
    return [torch.randn(150, 160)]


def get_init_inputs():
    return [160, 224, 7]
