"""Grouped pointwise convolutions around a depthwise one, channels shuffled."""

import torch
from torch import nn
from torch.nn import functional as F


class Model(nn.Module):
    def __init__(self, channels: int, hidden: int, groups: int):
        super().__init__()
        self.groups = groups
        self.conv1 = nn.Conv2d(channels, hidden, 1, groups=groups, bias=False)
        self.norm1 = nn.BatchNorm2d(hidden)
        self.conv2 = nn.Conv2d(hidden, hidden, 3, padding=1, groups=hidden, bias=False)
        self.norm2 = nn.BatchNorm2d(hidden)
        self.conv3 = nn.Conv2d(hidden, channels, 1, groups=groups, bias=False)
        self.norm3 = nn.BatchNorm2d(channels)
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
        y = torch.relu(self.norm1(self.conv1(x)))
        y = F.channel_shuffle(y, self.groups)
        return torch.relu(self.norm3(self.conv3(self.norm2(self.conv2(y)))) + x)


def get_inputs():
    return [torch.randn(2, 48, 14, 17)]


def get_init_inputs():
    return [48, 24, 3]
