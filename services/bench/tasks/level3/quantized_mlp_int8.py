"""Feed-forward with int8 weights and scales for each column."""

import torch
from torch import nn
from torch.nn import functional as F


class Model(nn.Module):
    def __init__(self, width: int, hidden: int):
        super().__init__()
        for name, rows, columns in (("up", width, hidden), ("down", hidden, width)):
            self.register_buffer(name, torch.randint(-127, 128, (rows, columns), dtype=torch.int8))
            self.register_buffer(name + "_scale", 0.002 * (0.5 + torch.rand(columns)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = F.gelu((x @ self.up.to(x.dtype)) * self.up_scale)
        return (y @ self.down.to(x.dtype)) * self.down_scale


def get_inputs():
    return [torch.randn(140, 100)]


def get_init_inputs():
    return [100, 220]
