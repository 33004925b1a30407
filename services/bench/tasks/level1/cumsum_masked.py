"""Running sum of the elements that a mask keeps."""

import torch
from torch import nn


class Model(nn.Module):
    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        return torch.cumsum(x * mask, dim=1)


def get_inputs():
    return [torch.randn(300, 450), torch.randint(0, 2, (300, 450)).bool()]


def get_init_inputs():
    return []
