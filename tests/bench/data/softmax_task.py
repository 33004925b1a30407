"""Softmax over the last axis of a [128, 512] tensor."""

import torch
from torch import nn


class Model(nn.Module):
    def forward(self, x):
        return torch.softmax(x, dim=-1)


def get_inputs():
    return [torch.randn(128, 512)]


def get_init_inputs():
    return []
