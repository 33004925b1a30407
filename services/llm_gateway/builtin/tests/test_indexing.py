"""Kernels of the rule-based writer that pad, index, gather and resample, against PyTorch."""

from __future__ import annotations

import re
from collections.abc import Callable

import harness
import pytest
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812  the usual name


class Apply(nn.Module):
    def __init__(self, function: Callable) -> None:
        super().__init__()
        self.function = function

    def forward(self, x, *indices):
        return self.function(x, *indices)


def check(writer: harness.Writer, model: nn.Module, *inputs: torch.Tensor) -> harness.Session:
    session = harness.play(writer, harness.make_task(model.eval(), *inputs))
    assert session.passed, "\n".join([*session.sources[-1:], *session.results, *session.texts[-1:]])
    return session


KNOWN = {
    "constant": lambda x: F.pad(x, (1, 2, 0, 1), value=2.0) + F.pad(x, (4, -1, 0, 1)),
    "reflected": lambda x: F.pad(x, (1, 2, 2, 1), mode="reflect"),
    "circular": lambda x: F.pad(x, (1, 2, 2, 1), mode="circular"),
    "flip": lambda x: x.flip(2, 3) + x.flip(1),
    "roll": lambda x: torch.roll(x, (1, 2), (2, 3)),
    "unfold": lambda x: F.unfold(x, 3, padding=1),
    "windows": lambda x: x.unfold(2, 3, 2) * 2,
    "diagonal": lambda x: torch.diagonal(x, 1, -2, -1) + 1,
    "written_slice": lambda x: torch.slice_scatter(x, x[:, :2] * 2, 1, 1, 3),
    "nearest": lambda x: F.interpolate(x, scale_factor=2),
    "nearest_uneven": lambda x: F.interpolate(x, size=(4, 17)),
    "bilinear": lambda x: F.interpolate(x, scale_factor=2, mode="bilinear"),
    "corners": lambda x: F.interpolate(x, size=(13, 14), mode="bilinear", align_corners=True),
    "bicubic": lambda x: F.interpolate(x, scale_factor=2, mode="bicubic"),
}


@pytest.mark.parametrize("name", KNOWN)
def test_known_indices(writer: harness.Writer, name: str) -> None:
    check(writer, Apply(KNOWN[name]), torch.randn(2, 6, 9, 10))


RESAMPLED = {
    "line": (dict(scale_factor=3), (3, 7, 40), False),
    "volume": (dict(scale_factor=2), (2, 5, 4, 6, 5), False),
    "fewer": (dict(scale_factor=0.5), (2, 9, 10, 12), False),
    "half_more": (dict(scale_factor=1.5, mode="bilinear"), (2, 9, 10, 12), False),
    "fewer_linear": (dict(size=(5, 8), mode="bilinear"), (2, 9, 10, 12), False),
    "short_floats": (dict(scale_factor=2, mode="bilinear"), (2, 9, 10, 12), True),
    "line_by_line": (dict(scale_factor=2, mode="bilinear"), (2, 70, 60, 70), False),
    "loaded_by_line": (dict(scale_factor=2, mode="bilinear"), (1, 20, 120, 130), False),
    "one_axis": (dict(scale_factor=(1, 4), mode="bilinear"), (2, 9, 10, 12), False),
    "few_planes": (dict(scale_factor=2, mode="bilinear"), (1, 3, 60, 50), False),
    "one_pixel": (dict(scale_factor=4, mode="bilinear"), (1, 3, 1, 1), False),
}


@pytest.mark.parametrize("name", RESAMPLED)
def test_resamplings(writer: harness.Writer, name: str) -> None:
    how, shape, short = RESAMPLED[name]
    x = torch.randn(*shape, dtype=torch.bfloat16 if short else torch.float32)
    check(writer, Apply(lambda x: F.interpolate(x, **how) + 1), x)


SPACED = {
    "every_other": (lambda x: x[:, 1::3, 1::2].contiguous(), (3, 40, 150)),
    "pairs": (lambda x: x[..., ::2] * x[..., 1::2] + 1, (40, 60)),
    "ragged_chunks": (lambda x: x[:, 2::3].exp(), (130, 12289)),
    "short_floats": (lambda x: x[..., ::4] + x[..., 3::4], (2, 30, 64)),
    "summed": (lambda x: x[:, ::2].sum(-1), (140, 301)),
    "one_row": (lambda x: x[1::2] * 2, (301,)),
    "along_both": (lambda x: x[::2, ::5].transpose(0, 1).contiguous(), (60, 100)),
    "far_apart": (lambda x: x[:, ::9].abs(), (20, 300)),
}


@pytest.mark.parametrize("name", SPACED)
def test_every_so_many_elements(writer: harness.Writer, name: str) -> None:
    function, shape = SPACED[name]
    x = torch.randn(*shape, dtype=torch.bfloat16 if name == "short_floats" else torch.float32)
    session = check(writer, Apply(function), x)
    if name != "far_apart":
        assert re.search(r"_tile\[i_p, \d \* i_f\]", session.sources[0])


class Tokens(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table, self.positions = nn.Embedding(300, 70), nn.Parameter(torch.randn(50, 70))

    def forward(self, tokens):
        return self.table(tokens) * 8 + self.positions


def test_tensors_of_indices(writer: harness.Writer) -> None:
    session = check(writer, Tokens(), torch.randint(0, 300, (3, 50)))
    assert session.sources[0].count("nl.store(") == 1
    check(writer, Apply(lambda x, i: x.gather(1, i)), torch.randn(40, 60), torch.randint(0, 60, (40, 30)))
    check(writer, Apply(lambda x, i: x[:, i]), torch.randn(3, 7, 6), torch.randint(-7, 7, (4, 5)))
    i, j = torch.randint(-8, 8, (20,)), torch.randint(0, 9, (20,))
    check(writer, Apply(lambda x, i, j: x[i, j]), torch.randn(8, 9, 5), i, j)
