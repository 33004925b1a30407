"""Four experts, each weighted by the router for every token."""

import torch
from torch import nn
from torch.nn import functional as F


class Model(nn.Module):
    def __init__(self, width: int, hidden: int, experts: int):
        super().__init__()
        self.router = nn.Linear(width, experts, bias=False)
        self.up = nn.Parameter(torch.randn(experts, width, hidden) / width**0.5)
        self.down = nn.Parameter(torch.randn(experts, hidden, width) / hidden**0.5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        weights = torch.softmax(self.router(x), dim=-1)
        second = torch.topk(weights, 2, dim=-1).values[:, 1:]
        weights = torch.where(weights >= second, weights, 0.0)
        weights = weights / weights.sum(dim=-1, keepdim=True)
        y = F.silu(x.unsqueeze(0) @ self.up) @ self.down
        return (y * weights.T.unsqueeze(-1)).sum(dim=0)


def get_inputs():
    return [2.0 * torch.randn(150, 64)]


def get_init_inputs():
    return [64, 96, 4]
