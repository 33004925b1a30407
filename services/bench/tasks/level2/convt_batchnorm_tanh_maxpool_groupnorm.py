"""Transposed convolution, batch norm, tanh, max pooling, group norm."""

import torch
from torch import nn
from torch.nn import functional as F


class Model(nn.Module):
    def __init__(self, c_in: int, c_out: int, groups: int):
        super().__init__()
        self.conv = nn.ConvTranspose2d(c_in, c_out, 3, padding=1)
        self.batch_norm = nn.BatchNorm2d(c_out)
        self.group_norm = nn.GroupNorm(groups, c_out)
        # Norms start at one and zero, biases near zero; none of them shall be without effect.
        for parameter in self.parameters():
            if parameter.dim() == 1:
                parameter.data += 0.3 * torch.randn_like(parameter)
        for name, buffer in self.named_buffers():
            if name.endswith("running_mean"):
                buffer.normal_()
            elif name.endswith("running_var"):
                buffer.uniform_(0.5, 2.0)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = F.max_pool2d(torch.tanh(self.batch_norm(self.conv(x))), 2)
        return self.group_norm(y)


def get_inputs():
    return [torch.randn(2, 12, 20, 16)]


def get_init_inputs():
    return [12, 24, 4]
