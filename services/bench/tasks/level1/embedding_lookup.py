"""Rows of a table chosen by token ids, bf16."""

import torch
from torch import nn


class Model(nn.Module):
    def __init__(self, vocabulary: int, width: int):
        super().__init__()
        self.table = nn.Embedding(vocabulary, width)
        self.to(torch.bfloat16)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.table(ids)


def get_inputs():
    return [
        torch.randint(
            0,
            900,
            (
                4,
                90,
            ),
        )
    ]


def get_init_inputs():
    return [900, 160]
