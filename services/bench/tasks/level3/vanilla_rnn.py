"""Six steps of a tanh recurrence with an output layer."""

import torch
from torch import nn


class Model(nn.Module):
    def __init__(self, width: int, hidden: int, out: int):
        super().__init__()
        self.hidden = nn.Linear(width + hidden, hidden)
        self.out = nn.Linear(hidden, out)

    def forward(self, x: torch.Tensor, h: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        outputs = []
        for step in x.unbind(0):
            h = torch.tanh(self.hidden(torch.cat((step, h), dim=1)))
            outputs.append(self.out(h))
        return torch.stack(outputs), h


def get_inputs():
    return [torch.randn(6, 50, 60), torch.randn(50, 100)]


def get_init_inputs():
    return [60, 100, 40]
