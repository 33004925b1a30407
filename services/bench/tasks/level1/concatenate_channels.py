"""Images joined along channels."""

import torch
from torch import nn


class Model(nn.Module):
    def forward(self, a: torch.Tensor, b: torch.Tensor, c: torch.Tensor) -> torch.Tensor:
        return torch.cat((a, b, c), dim=1)


def get_inputs():
    return [torch.randn(3, 20, 18, 21), torch.randn(3, 33, 18, 21), torch.randn(3, 7, 18, 21)]


def get_init_inputs():
    return []
