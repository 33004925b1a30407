"""Convolution, batch norm, factor, bf16."""

import torch
from torch import nn


class Model(nn.Module):
    def __init__(self, c_in: int, c_out: int, factor: float):
        super().__init__()
        self.conv = nn.Conv2d(c_in, c_out, 3)
        self.norm = nn.BatchNorm2d(c_out)
        self.factor = factor
        # Norms start at one and zero, biases near zero; none of them shall be without effect.
        for parameter in self.parameters():
            if parameter.dim() == 1:
                parameter.data += 0.3 * torch.randn_like(parameter)
        for name, buffer in self.named_buffers():
            if name.endswith("running_mean"):
                buffer.normal_()
            elif name.endswith("running_var"):
                buffer.uniform_(0.5, 2.0)
        self.to(torch.bfloat16)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(self.conv(x)) * self.factor


def get_inputs():
    return [torch.randn(2, 16, 18, 20, dtype=torch.bfloat16)]


def get_init_inputs():
    return [16, 40, 2.0]
