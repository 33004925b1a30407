"""Softsign of a rank-3 tensor."""

import torch
from torch import nn
from torch.nn import functional as F


class Model(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.softsign(x)


def get_inputs():
    return [torch.randn(7, 130, 240)]


def get_init_inputs():
    return []
