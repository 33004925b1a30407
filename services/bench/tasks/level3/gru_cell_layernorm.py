"""One step of a GRU with layer-normed gates."""

import torch
from torch import nn


class Model(nn.Module):
    def __init__(self, width: int, hidden: int):
        super().__init__()
        self.inputs = nn.Linear(width, 3 * hidden, bias=False)
        self.states = nn.Linear(hidden, 3 * hidden, bias=False)
        self.norm_inputs = nn.LayerNorm(3 * hidden)
        self.norm_states = nn.LayerNorm(3 * hidden)
        # Norms start at one and zero, biases near zero; none of them shall be without effect.
        for parameter in self.parameters():
            if parameter.dim() == 1:
                parameter.data += 0.3 * torch.randn_like(parameter)

    def forward(self, x: torch.Tensor, h: torch.Tensor) -> torch.Tensor:
        ir, iz, inn = self.norm_inputs(self.inputs(x)).chunk(3, dim=1)
        hr, hz, hn = self.norm_states(self.states(h)).chunk(3, dim=1)
        z = torch.sigmoid(iz + hz)
        return (1 - z) * torch.tanh(inn + torch.sigmoid(ir + hr) * hn) + z * h


def get_inputs():
    return [torch.randn(130, 120), torch.randn(130, 90)]


def get_init_inputs():
    return [120, 90]
