"""Pointwise convolution added to an enlarged coarser map."""

import torch
from torch import nn
from torch.nn import functional as F


class Model(nn.Module):
    def __init__(self, c_in: int, c_out: int):
        super().__init__()
        self.lateral = nn.Conv2d(c_in, c_out, 1)

    def forward(self, fine: torch.Tensor, coarse: torch.Tensor) -> torch.Tensor:
        return self.lateral(fine) + F.interpolate(coarse, scale_factor=2, mode="nearest")


def get_inputs():
    return [torch.randn(2, 40, 20, 22), torch.randn(2, 64, 10, 11)]


def get_init_inputs():
    return [40, 64]
