"""Three layers, each of which sees all before it."""

import torch
from torch import nn


class Model(nn.Module):
    def __init__(self, c_in: int, growth: int, layers: int):
        super().__init__()
        self.norms = nn.ModuleList(nn.BatchNorm2d(c_in + i * growth) for i in range(layers))
        self.convs = nn.ModuleList(
            nn.Conv2d(c_in + i * growth, growth, 3, padding=1, bias=False) for i in range(layers)
        )
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
        for norm, conv in zip(self.norms, self.convs, strict=True):
            x = torch.cat((x, conv(torch.relu(norm(x)))), dim=1)
        return x


def get_inputs():
    return [torch.randn(2, 20, 14, 15)]


def get_init_inputs():
    return [20, 12, 3]
