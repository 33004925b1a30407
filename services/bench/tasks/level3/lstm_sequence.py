"""Six steps of an LSTM and a classifier on the last state."""

import torch
from torch import nn


class Model(nn.Module):
    def __init__(self, width: int, hidden: int, classes: int):
        super().__init__()
        self.inputs = nn.Linear(width, 4 * hidden)
        self.states = nn.Linear(hidden, 4 * hidden, bias=False)
        self.head = nn.Linear(hidden, classes)

    def forward(self, x: torch.Tensor, h: torch.Tensor, c: torch.Tensor) -> torch.Tensor:
        for t in range(x.shape[1]):
            i, f, g, o = (self.inputs(x[:, t]) + self.states(h)).chunk(4, dim=1)
            c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
            h = torch.sigmoid(o) * torch.tanh(c)
        return self.head(h)


def get_inputs():
    return [2.0 * torch.randn(40, 6, 48), torch.randn(40, 64), torch.randn(40, 64)]


def get_init_inputs():
    return [48, 64, 30]
