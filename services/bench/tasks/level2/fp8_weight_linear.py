"""Product with fp8 weights and a scale for each column."""

import torch
from torch import nn


class Model(nn.Module):
    def __init__(self, k: int, n: int):
        super().__init__()
        self.register_buffer("weight", torch.randn(k, n).to(torch.float8_e5m2))
        self.register_buffer("scale", 0.05 * (0.5 + torch.rand(n)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (x @ self.weight.to(torch.float32).to(x.dtype)) * self.scale


def get_inputs():
    return [torch.randn(140, 200)]


def get_init_inputs():
    return [200, 256]
