"""A class token before the patches, positions added."""

import torch
from torch import nn


class Model(nn.Module):
    def __init__(self, tokens: int, width: int):
        super().__init__()
        self.token = nn.Parameter(torch.randn(1, 1, width))
        self.positions = nn.Parameter(torch.randn(1, tokens + 1, width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat((self.token.expand(x.shape[0], -1, -1), x), dim=1) + self.positions


def get_inputs():
    return [torch.randn(3, 72, 130)]


def get_init_inputs():
    return [72, 130]
