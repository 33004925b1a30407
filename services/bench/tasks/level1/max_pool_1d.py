"""Max pooling over sequences with stride, padding and dilation, bf16."""

import torch
from torch import nn
from torch.nn import functional as F


class Model(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.max_pool1d(x, kernel_size=5, stride=2, padding=2, dilation=3)


def get_inputs():
    return [torch.randn(6, 50, 210, dtype=torch.bfloat16)]


def get_init_inputs():
    return []
