"""Token, position and segment embeddings, layer norm."""

import torch
from torch import nn


class Model(nn.Module):
    def __init__(self, vocabulary: int, positions: int, width: int):
        super().__init__()
        self.token = nn.Embedding(vocabulary, width)
        self.position = nn.Embedding(positions, width)
        self.segment = nn.Embedding(2, width)
        self.norm = nn.LayerNorm(width)
        # Norms start at one and zero, biases near zero; none of them shall be without effect.
        for parameter in self.parameters():
            if parameter.dim() == 1:
                parameter.data += 0.3 * torch.randn_like(parameter)

    def forward(self, ids: torch.Tensor, segments: torch.Tensor) -> torch.Tensor:
        return self.norm(self.token(ids) + self.position.weight + self.segment(segments))


def get_inputs():
    return [
        torch.randint(
            0,
            700,
            (
                3,
                80,
            ),
        ),
        torch.randint(
            0,
            2,
            (
                3,
                80,
            ),
        ),
    ]


def get_init_inputs():
    return [700, 80, 150]
