"""Elements of each row chosen by index."""

import torch
from torch import nn


class Model(nn.Module):
    def forward(self, x: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
        return torch.gather(x, 1, index)


def get_inputs():
    return [
        torch.randn(200, 350),
        torch.randint(
            0,
            350,
            (
                200,
                120,
            ),
        ),
    ]


def get_init_inputs():
    return []
