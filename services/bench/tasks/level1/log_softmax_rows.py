"""Log-softmax over the last axis of a matrix, bf16."""

import torch
from torch import nn
from torch.nn import functional as F


class Model(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.log_softmax(x, dim=1)


def get_inputs():
    return [torch.randn(400, 650, dtype=torch.bfloat16)]


def get_init_inputs():
    return []
