"""Images from channels first to channels last, bf16."""

import torch
from torch import nn


class Model(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.permute(0, 2, 3, 1).contiguous()


def get_inputs():
    return [torch.randn(3, 40, 24, 25, dtype=torch.bfloat16)]


def get_init_inputs():
    return []
