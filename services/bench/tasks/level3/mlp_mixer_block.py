"""Feed-forward across tokens, then across channels, bf16."""

import torch
from torch import nn
from torch.nn import functional as F


class Model(nn.Module):
    def __init__(self, tokens: int, width: int):
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.token_up = nn.Linear(tokens, 2 * tokens)
        self.token_down = nn.Linear(2 * tokens, tokens)
        self.norm2 = nn.LayerNorm(width)
        self.up = nn.Linear(width, 2 * width)
        self.down = nn.Linear(2 * width, width)
        # Norms start at one and zero, biases near zero; none of them shall be without effect.
        for parameter in self.parameters():
            if parameter.dim() == 1:
                parameter.data += 0.3 * torch.randn_like(parameter)
        self.to(torch.bfloat16)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.norm1(x).transpose(1, 2)
        x = x + self.token_down(F.gelu(self.token_up(y))).transpose(1, 2)
        return x + self.down(F.gelu(self.up(self.norm2(x))))


def get_inputs():
    return [torch.randn(3, 49, 72, dtype=torch.bfloat16)]


def get_init_inputs():
    return [49, 72]
