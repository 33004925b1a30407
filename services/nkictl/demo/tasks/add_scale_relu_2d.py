"""Elementwise chain on a ragged matrix: relu(x * y + 0.5 * x)."""

import torch
import torch.nn as nn


class Model(nn.Module):
    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return torch.relu(x * y + 0.5 * x)


def get_inputs():
    return [torch.randn(300, 777), torch.randn(300, 777)]


def get_init_inputs():
    return []
