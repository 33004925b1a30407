"""Max pooling over a volume."""

import torch
from torch import nn
from torch.nn import functional as F


class Model(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.max_pool3d(x, kernel_size=3, stride=2, padding=1)


def get_inputs():
    return [torch.randn(20, 16, 18, 20)]


def get_init_inputs():
    return []
