"""Convolution, group norm, tanh, hard swish, residual, log-sum-exp over channels."""

import torch
from torch import nn
from torch.nn import functional as F


class Model(nn.Module):
    def __init__(self, c_in: int, c_out: int, groups: int):
        super().__init__()
        self.conv = nn.Conv2d(c_in, c_out, 3)
        self.norm = nn.GroupNorm(groups, c_out)
        # Norms start at one and zero, biases near zero; none of them shall be without effect.
        for parameter in self.parameters():
            if parameter.dim() == 1:
                parameter.data += 0.3 * torch.randn_like(parameter)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.conv(x)
        return torch.logsumexp(y + F.hardswish(torch.tanh(self.norm(y))), dim=1, keepdim=True)


def get_inputs():
    return [torch.randn(2, 8, 24, 20)]


def get_init_inputs():
    return [8, 24, 4]
