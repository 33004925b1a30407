"""One query for each sequence, keys and values read through a page table."""

import math

import torch
from torch import nn


class Model(nn.Module):
    def forward(
        self, keys: torch.Tensor, values: torch.Tensor, pages: torch.Tensor, q: torch.Tensor
    ) -> torch.Tensor:
        k = keys[pages].reshape(5, 6 * 16, 40)
        v = values[pages].reshape(5, 6 * 16, 40)
        weights = torch.softmax((k @ q.unsqueeze(-1)).squeeze(-1) / math.sqrt(40), dim=-1)
        return (weights.unsqueeze(1) @ v).squeeze(1)


def get_inputs():
    return [
        torch.randn(96, 16 * 40),
        torch.randn(96, 16 * 40),
        torch.randint(
            0,
            96,
            (
                5,
                6,
            ),
        ),
        3.0 * torch.randn(5, 40),
    ]


def get_init_inputs():
    return []
