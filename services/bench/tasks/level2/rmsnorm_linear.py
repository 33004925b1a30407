"""RMS norm followed by a projection, bf16."""

import torch
from torch import nn


class Model(nn.Module):
    def __init__(self, width: int, out: int):
        super().__init__()
        self.weight = nn.Parameter(1.0 + 0.3 * torch.randn(width))
        self.linear = nn.Linear(width, out, bias=False)
        self.to(torch.bfloat16)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = x.float()
        y = y * torch.rsqrt(y.square().mean(dim=-1, keepdim=True) + 1e-6)
        return self.linear(y.to(x.dtype) * self.weight)


def get_inputs():
    return [torch.randn(180, 256, dtype=torch.bfloat16)]


def get_init_inputs():
    return [256, 320]
