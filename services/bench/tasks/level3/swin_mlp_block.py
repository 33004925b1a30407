"""Layer norm, mixing inside windows by grouped convolution, feed-forward."""

import torch
from torch import nn
from torch.nn import functional as F


class Model(nn.Module):
    def __init__(self, width: int, heads: int, window: int):
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.spatial = nn.Conv1d(heads * window, heads * window, 1, groups=heads)
        self.norm2 = nn.LayerNorm(width)
        self.up = nn.Linear(width, 2 * width)
        self.down = nn.Linear(2 * width, width)
        self.heads = heads
        # Norms start at one and zero, biases near zero; none of them shall be without effect.
        for parameter in self.parameters():
            if parameter.dim() == 1:
                parameter.data += 0.3 * torch.randn_like(parameter)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.norm1(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        y = self.spatial(y.flatten(1, 2)).unflatten(1, (self.heads, -1))
        x = x + y.transpose(1, 2).flatten(2)
        return x + self.down(F.gelu(self.up(self.norm2(x))))


def get_inputs():
    return [torch.randn(4, 36, 48)]


def get_init_inputs():
    return [48, 3, 36]
