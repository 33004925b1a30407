"""Linear, group norm, minimum over features, bias."""

import torch
from torch import nn


class Model(nn.Module):
    def __init__(self, features: int, out: int, groups: int):
        super().__init__()
        self.linear = nn.Linear(features, out)
        self.norm = nn.GroupNorm(groups, out)
        self.bias = nn.Parameter(torch.randn(1, out, 1))
        # Norms start at one and zero, biases near zero; none of them shall be without effect.
        for parameter in self.parameters():
            if parameter.dim() == 1:
                parameter.data += 0.3 * torch.randn_like(parameter)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.min(self.norm(self.linear(x)), dim=1, keepdim=True).values
        return y.T.unsqueeze(0) + self.bias


def get_inputs():
    return [torch.randn(144, 128)]


def get_init_inputs():
    return [128, 208, 13]
