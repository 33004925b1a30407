"""Maximum of each row with its index."""

import torch
from torch import nn


class Model(nn.Module):
    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        values, indices = torch.max(x, dim=1)
        return values, indices


def get_inputs():
    return [torch.randn(400, 600)]


def get_init_inputs():
    return []
