"""Convolution of a volume, minimum over depth, softmax over channels; the weight is kept as a matrix."""

import torch
from torch import nn
from torch.nn import functional as F


class Model(nn.Module):
    def __init__(self, c_in: int, c_out: int):
        super().__init__()
        self.shape = (c_out, c_in, 3, 3, 3)
        self.weight = nn.Parameter(0.3 * torch.randn(c_out, c_in * 27))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.min(F.conv3d(x, self.weight.view(self.shape)), dim=1).values
        return torch.softmax(y, dim=0)


def get_inputs():
    return [torch.randn(4, 10, 14, 15)]


def get_init_inputs():
    return [4, 20]
