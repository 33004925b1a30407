"""Both sides int8, scales, bias, ReLU."""

import torch
from torch import nn


class Model(nn.Module):
    def __init__(self, k: int, n: int):
        super().__init__()
        self.register_buffer("weight", torch.randint(-127, 128, (k, n), dtype=torch.int8))
        self.register_buffer("scale", 1e-4 * (0.5 + torch.rand(n)))
        self.bias = nn.Parameter(torch.randn(n))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = x.to(self.scale.dtype) @ self.weight.to(self.scale.dtype)
        return torch.relu(y * self.scale + self.bias)


def get_inputs():
    return [torch.randint(-127, 128, (130, 220), dtype=torch.int8)]


def get_init_inputs():
    return [220, 180]
