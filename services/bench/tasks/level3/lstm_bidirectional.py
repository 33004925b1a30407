"""Four steps of an LSTM in both directions."""

import torch
from torch import nn


class Cell(nn.Module):
    """One direction."""

    def __init__(self, width: int, hidden: int):
        super().__init__()
        self.inputs = nn.Linear(width, 4 * hidden)
        self.states = nn.Linear(hidden, 4 * hidden, bias=False)

    def forward(self, x: torch.Tensor, h: torch.Tensor, c: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        i, f, g, o = (self.inputs(x) + self.states(h)).chunk(4, dim=1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        return torch.sigmoid(o) * torch.tanh(c), c


class Model(nn.Module):
    def __init__(self, width: int, hidden: int):
        super().__init__()
        self.forth = Cell(width, hidden)
        self.back = Cell(width, hidden)

    def forward(self, x: torch.Tensor, state: torch.Tensor) -> torch.Tensor:
        h, c, g, d = state.unbind(0)
        forth, back = [], []
        for t in range(4):
            h, c = self.forth(x[t], h, c)
            g, d = self.back(x[3 - t], g, d)
            forth.append(h)
            back.insert(0, g)
        return torch.cat((torch.stack(forth), torch.stack(back)), dim=-1)


def get_inputs():
    return [2.0 * torch.randn(4, 34, 40), torch.randn(4, 34, 48)]


def get_init_inputs():
    return [40, 48]
