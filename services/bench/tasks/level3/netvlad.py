"""Soft assignment to clusters and normalised residuals to their centres."""

import torch
from torch import nn
from torch.nn import functional as F


class Model(nn.Module):
    def __init__(self, features: int, clusters: int):
        super().__init__()
        self.assign = nn.Linear(features, clusters, bias=False)
        self.norm = nn.BatchNorm1d(clusters)
        self.centres = nn.Parameter(torch.randn(1, features, clusters))
        # Norms start at one and zero, biases near zero; none of them shall be without effect.
        for parameter in self.parameters():
            if parameter.dim() == 1:
                parameter.data += 0.3 * torch.randn_like(parameter)
        for name, buffer in self.named_buffers():
            if name.endswith("running_mean"):
                buffer.normal_()
            elif name.endswith("running_var"):
                buffer.uniform_(0.5, 2.0)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        weights = torch.softmax(self.norm(self.assign(x).flatten(0, 1)), dim=-1).view(4, 90, -1)
        residual = x.transpose(1, 2) @ weights - weights.sum(dim=1, keepdim=True) * self.centres
        residual = F.normalize(residual, dim=1).flatten(1)
        return F.normalize(residual, dim=1) * 10.0


def get_inputs():
    return [torch.randn(4, 90, 48)]


def get_init_inputs():
    return [48, 12]
