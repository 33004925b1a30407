"""Product with int8 weights and a scale for each column."""

import torch
from torch import nn


class Model(nn.Module):
    def __init__(self, k: int, n: int):
        super().__init__()
        self.register_buffer("weight", torch.randint(-127, 128, (k, n), dtype=torch.int8))
        self.register_buffer("scale", 0.01 * torch.rand(n) + 0.001)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (x @ self.weight.to(x.dtype)) * self.scale


def get_inputs():
    return [torch.randn(190, 260)]


def get_init_inputs():
    return [260, 300]
