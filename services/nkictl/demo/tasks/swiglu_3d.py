"""The gate of a language model's feed-forward part: silu(gate) * up."""

import torch
import torch.nn as nn
import torch.nn.functional as F


class Model(nn.Module):
    def forward(self, gate: torch.Tensor, up: torch.Tensor) -> torch.Tensor:
        return F.silu(gate) * up


def get_inputs():
    return [torch.randn(2, 180, 344), torch.randn(2, 180, 344)]


def get_init_inputs():
    return []
