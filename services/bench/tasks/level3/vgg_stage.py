"""Two convolutions with ReLU and max pooling, bf16."""

import torch
from torch import nn
from torch.nn import functional as F


class Model(nn.Module):
    def __init__(self, c_in: int, c_out: int):
        super().__init__()
        self.conv1 = nn.Conv2d(c_in, c_out, 3, padding=1)
        self.conv2 = nn.Conv2d(c_out, c_out, 3, padding=1)
        self.to(torch.bfloat16)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.max_pool2d(torch.relu(self.conv2(torch.relu(self.conv1(x)))), 2)


def get_inputs():
    return [torch.randn(2, 16, 20, 22, dtype=torch.bfloat16)]


def get_init_inputs():
    return [16, 32]
