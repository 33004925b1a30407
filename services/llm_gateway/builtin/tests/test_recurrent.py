"""Recurrent layers: kernels of the rule-based writer, executed by the real toolchain against PyTorch."""

from __future__ import annotations

import harness
import pytest
import torch
from torch import nn


class Everything(nn.Module):
    """A layer with all that it returns: hidden states of every step, and the last ones."""

    def __init__(self, layer: nn.RNNBase) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x):
        hidden, last = self.layer(x)
        return (hidden, *last) if isinstance(last, tuple) else (hidden, last)


class LastCell(nn.Module):
    """Starts from given states and returns the last cell state only."""

    def __init__(self, layer: nn.LSTM) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x, hidden, cell):
        return self.layer(x, (hidden, cell))[1][1]


def check(writer: harness.Writer, model: nn.Module, *inputs: torch.Tensor) -> harness.Session:
    session = harness.play(writer, harness.make_task(model, *inputs))
    assert session.passed, "\n".join([*session.sources[-1:], *session.results, *session.texts[-1:]])
    return session


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (nn.LSTM(10, 20, 2, batch_first=True, bidirectional=True), (3, 5, 10)),
        (nn.GRU(150, 131), (4, 6, 150)),
        (nn.GRU(8, 16, bidirectional=True, bias=False), (3, 140, 8)),
        (nn.RNN(30, 24, 2, nonlinearity="relu"), (7, 2, 30)),
        (nn.RNN(30, 24, batch_first=True), (2, 7, 30)),
    ],
    ids=str,
)
def test_recurrent_layers(writer: harness.Writer, layer: nn.RNNBase, shape: tuple[int, ...]) -> None:
    session = check(writer, Everything(layer.eval()), torch.randn(shape))
    assert "sequential_range" in session.sources[0]


def test_states_are_carried_in_and_out(writer: harness.Writer) -> None:
    states = torch.randn(2, 4, 140), torch.randn(2, 4, 140)
    check(writer, LastCell(nn.LSTM(20, 140, 2).eval()), torch.randn(5, 4, 20), *states)
