"""Convolution of a volume, max pooling, log-sum-exp over channels, ReLU; the weight is kept as a matrix."""

import torch
from torch import nn
from torch.nn import functional as F


class Model(nn.Module):
    def __init__(self, c_in: int, c_out: int):
        super().__init__()
        self.shape = (c_out, c_in, 3, 3, 3)
        self.weight = nn.Parameter(0.2 * torch.randn(c_out, c_in * 27))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = F.max_pool3d(F.conv3d(x, self.weight.view(self.shape), padding=1), 2)
        return torch.relu(torch.logsumexp(y, dim=0, keepdim=True))


def get_inputs():
    return [torch.randn(4, 12, 16, 16)]


def get_init_inputs():
    return [4, 16]
