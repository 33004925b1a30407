"""Largest value along the last axis of a 4-D tensor."""

import torch
import torch.nn as nn


class Model(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.amax(x, dim=-1)


def get_inputs():
    return [torch.randn(2, 6, 40, 96)]


def get_init_inputs():
    return []
