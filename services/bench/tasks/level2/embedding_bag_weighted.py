"""Weighted sum of embeddings for each bag."""

import torch
from torch import nn


class Model(nn.Module):
    def __init__(self, vocabulary: int, width: int):
        super().__init__()
        self.table = nn.Embedding(vocabulary, width)

    def forward(self, ids: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        return (self.table(ids) * weights.unsqueeze(-1)).sum(dim=1)


def get_inputs():
    return [
        torch.randint(
            0,
            500,
            (
                60,
                12,
            ),
        ),
        torch.randn(60, 12),
    ]


def get_init_inputs():
    return [500, 144]
