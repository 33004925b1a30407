"""Mean hinge loss."""

import torch
from torch import nn


class Model(nn.Module):
    def forward(self, prediction: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return torch.mean(torch.clamp(1 - prediction * target, min=0))


def get_inputs():
    return [torch.randn(400, 300), torch.randint(0, 2, (400, 300)).float() * 2 - 1]


def get_init_inputs():
    return []
