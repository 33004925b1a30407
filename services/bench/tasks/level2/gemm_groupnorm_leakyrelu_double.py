"""Linear, group norm, leaky ReLU, doubling, bf16."""

import torch
from torch import nn
from torch.nn import functional as F


class Model(nn.Module):
    def __init__(self, features: int, out: int, groups: int):
        super().__init__()
        self.linear = nn.Linear(features, out)
        self.norm = nn.GroupNorm(groups, out)
        # Norms start at one and zero, biases near zero; none of them shall be without effect.
        for parameter in self.parameters():
            if parameter.dim() == 1:
                parameter.data += 0.3 * torch.randn_like(parameter)
        self.to(torch.bfloat16)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = F.leaky_relu(self.norm(self.linear(x)), 0.01)
        return y + y


def get_inputs():
    return [torch.randn(140, 192, dtype=torch.bfloat16)]


def get_init_inputs():
    return [192, 256, 16]
