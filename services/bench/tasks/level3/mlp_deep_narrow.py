"""Eight narrow layers with ReLU."""

import torch
from torch import nn


class Model(nn.Module):
    def __init__(self, features: int, depth: int):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(features, features) for _ in range(depth))
        for layer in self.layers:
            nn.init.normal_(layer.weight, std=(2.0 / features) ** 0.5)
        # Norms start at one and zero, biases near zero; none of them shall be without effect.
        for parameter in self.parameters():
            if parameter.dim() == 1:
                parameter.data += 0.3 * torch.randn_like(parameter)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.layers[:-1]:
            x = torch.relu(layer(x))
        return self.layers[-1](x)


def get_inputs():
    return [torch.randn(300, 96)]


def get_init_inputs():
    return [96, 8]
