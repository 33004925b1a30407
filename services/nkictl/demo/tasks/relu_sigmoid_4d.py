"""sigmoid(relu(x)) on images of 96 channels."""

import torch
import torch.nn as nn


class Model(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.sigmoid(torch.relu(x))


def get_inputs():
    return [torch.randn(2, 96, 28, 28)]


def get_init_inputs():
    return []
