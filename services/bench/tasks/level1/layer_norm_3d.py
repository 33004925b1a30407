"""Layer norm over the last three axes."""

import torch
from torch import nn


class Model(nn.Module):
    def __init__(self, features: int, height: int, width: int):
        super().__init__()
        self.norm = nn.LayerNorm((features, height, width))
        nn.init.normal_(self.norm.weight)
        nn.init.normal_(self.norm.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(x)


def get_inputs():
    return [torch.randn(8, 12, 20, 24)]


def get_init_inputs():
    return [12, 20, 24]
