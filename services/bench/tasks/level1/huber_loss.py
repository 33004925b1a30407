"""Smooth L1 loss."""

import torch
from torch import nn
from torch.nn import functional as F


class Model(nn.Module):
    def forward(self, prediction: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return F.smooth_l1_loss(prediction, target)


def get_inputs():
    return [torch.randn(250, 900), torch.randn(250, 900)]


def get_init_inputs():
    return []
