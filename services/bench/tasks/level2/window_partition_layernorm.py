"""Layer norm, then windows of a shifted image as batches."""

import torch
from torch import nn


class Model(nn.Module):
    def __init__(self, width: int, window: int):
        super().__init__()
        self.window = window
        self.norm = nn.LayerNorm(width)
        # Norms start at one and zero, biases near zero; none of them shall be without effect.
        for parameter in self.parameters():
            if parameter.dim() == 1:
                parameter.data += 0.3 * torch.randn_like(parameter)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.roll(self.norm(x), (-3, -3), (1, 2))
        y = y.reshape(2 * 4, self.window, 3, self.window * 72).transpose(1, 2)
        return y.reshape(2 * 12, self.window * self.window, 72)


def get_inputs():
    return [torch.randn(2, 24, 18, 72)]


def get_init_inputs():
    return [72, 6]
