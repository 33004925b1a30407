"""Kernels of the rule-based writer for convolutions and poolings against PyTorch."""

from __future__ import annotations

import harness
import pytest
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812  the usual name


def check(writer: harness.Writer, model: nn.Module, *inputs: torch.Tensor) -> harness.Session:
    session = harness.play(writer, harness.make_task(model.eval(), *inputs))
    assert session.passed, "\n".join([*session.sources[-1:], *session.results, *session.texts[-1:]])
    return session


@pytest.mark.parametrize(
    ("model", "shape"),
    [
        (nn.Conv1d(6, 4, 5, dilation=3, stride=2, padding=4), (2, 6, 2001)),
        (nn.Conv2d(3, 70, (3, 5), stride=(2, 1), padding=(1, 2), dilation=(2, 1)), (2, 3, 20, 31)),
        (nn.Conv2d(160, 140, 3, padding=1), (1, 160, 12, 9)),
        (nn.Conv2d(3, 8, 3, padding=1), (1, 3, 12, 600)),
        (nn.Conv2d(3, 16, 11, stride=4, padding=2), (1, 3, 224, 224)),
        (nn.Conv2d(12, 8, 3, groups=4, padding=1, bias=False), (2, 12, 9, 10)),
        (nn.Conv3d(3, 8, (3, 5, 7), stride=(1, 2, 1)), (1, 3, 16, 40, 60)),
        (nn.Conv3d(5, 8, 3, padding=(2, 1, 1), dilation=(2, 1, 1)), (2, 5, 7, 9, 6)),
        (nn.Conv3d(6, 9, 3, groups=3, padding=1), (2, 6, 5, 6, 7)),
        (nn.Conv2d(24, 20, 5, padding=2), (3, 24, 9, 11)),  # five taps do not fit side by side
        (nn.Conv2d(10, 12, (1, 4), padding=(0, 3), stride=(2, 3)), (2, 10, 9, 11)),
        (nn.Conv2d(8, 130, 1, stride=2), (5, 8, 9, 11)),
        (nn.Conv2d(90, 180, 3, groups=3, padding=1), (2, 90, 9, 11)),
        (nn.Conv2d(26, 39, 3, groups=13, padding=1, bias=False), (2, 26, 40, 41)),
        (nn.Conv2d(131, 131, 3, groups=131, padding=1), (2, 131, 7, 8)),  # a ragged last block of filters
        (nn.Conv1d(17, 40, 3, padding=2, dilation=2), (5, 17, 33)),
        (nn.Conv2d(6, 8, 3, padding="same"), (2, 6, 1, 9)),
        (nn.Conv2d(6, 8, (1, 9), padding=(0, 4)), (2, 6, 3, 2)),  # taps that meet padding only
    ],
    ids=str,
)
def test_convolutions(writer: harness.Writer, model: nn.Module, shape: tuple[int, ...]) -> None:
    check(writer, model, torch.randn(*shape))


@pytest.mark.parametrize(
    ("model", "shape"),
    [
        (nn.Conv2d(12, 12, 3, groups=12, padding=1), (2, 12, 9, 10)),
        (nn.Conv2d(12, 36, (3, 1), groups=12, padding=(1, 0), stride=2), (2, 12, 19, 10)),
        (nn.Conv1d(140, 140, 4, groups=140, padding=3), (1, 140, 50)),
    ],
    ids=str,
)
def test_depthwise_convolutions(writer: harness.Writer, model: nn.Module, shape: tuple[int, ...]) -> None:
    session = check(writer, model, torch.randn(*shape))
    assert "affine_select" in session.sources[0]  # filters of many channels in one matrix


def test_what_is_not_finite_stays_in_its_channel(writer: harness.Writer) -> None:
    """Products with the zeros between filters would spread it."""
    model = nn.Conv2d(12, 12, 3, groups=12, padding=1)
    x = torch.randn(2, 12, 9, 10)
    x[0, 3, 4, 5] = torch.inf
    session = check(writer, model, x)
    assert len(session.sources) == 2 and "nc_matmul" not in session.sources[1]
    grouped = nn.Conv2d(12, 8, 3, groups=4, padding=1)
    session = check(writer, grouped, x)
    assert len(session.sources) == 2 and "affine_select" not in session.sources[1]


@pytest.mark.parametrize(
    ("model", "shape"),
    [
        (nn.ConvTranspose1d(6, 4, 5, stride=2, padding=1, dilation=2), (2, 6, 131)),
        (nn.ConvTranspose2d(64, 32, 4, stride=2, padding=1), (1, 64, 40, 40)),
        (
            nn.ConvTranspose2d(6, 4, (3, 5), stride=(3, 2), padding=(0, 1), dilation=(2, 1), groups=2),
            (2, 6, 9, 10),
        ),
        (nn.ConvTranspose2d(6, 4, 1, stride=3), (2, 6, 9, 10)),
        (nn.ConvTranspose3d(4, 6, 3, stride=2, padding=1, output_padding=1), (1, 4, 5, 6, 7)),
        (nn.ConvTranspose2d(12, 24, 3, padding=1, groups=4), (3, 12, 9, 10)),
        (nn.ConvTranspose2d(12, 12, 4, stride=2, padding=1, groups=12, bias=False), (2, 12, 7, 9)),
        (nn.ConvTranspose2d(20, 150, (2, 3), stride=2, dilation=(1, 2)), (2, 20, 6, 5)),
        (nn.ConvTranspose1d(24, 10, 5, stride=3), (3, 24, 31)),
        (nn.ConvTranspose2d(16, 6, (2, 1), stride=(3, 1)), (2, 16, 5, 6)),
    ],
    ids=str,
)
def test_transposed_convolutions(writer: harness.Writer, model: nn.Module, shape: tuple[int, ...]) -> None:
    check(writer, model, torch.randn(*shape))


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(6, 6, 3, padding=1), nn.BatchNorm2d(6)

    def forward(self, x):
        return F.relu(self.norm(self.conv(x)) + x)


def test_what_follows_a_convolution_runs_on_its_tiles(writer: harness.Writer) -> None:
    session = check(writer, Residual(), torch.randn(2, 6, 9, 10))
    assert session.sources[0].count("nl.store(") == 1
    check(
        writer, nn.Sequential(nn.Conv2d(6, 8, 3), nn.GroupNorm(4, 8), nn.Hardtanh()), torch.randn(2, 6, 9, 10)
    )
    check(
        writer,
        nn.Sequential(nn.Conv2d(6, 8, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5)),
        torch.randn(2, 6, 9, 10),
    )


@pytest.mark.parametrize(
    ("model", "shape"),
    [
        (nn.MaxPool1d(8, 1, 4, 3), (16, 20, 128)),
        (nn.MaxPool2d(3, 2, 1, ceil_mode=True), (2, 6, 10, 11)),
        (nn.MaxPool3d(3, 2, 1, 2), (2, 6, 16, 20, 20)),
        (nn.AvgPool2d(3, 2, 1), (2, 6, 19, 10)),
        (nn.AvgPool2d(3, 2, 1, count_include_pad=False), (2, 6, 19, 10)),
        (nn.AvgPool2d(3, 2, 1, ceil_mode=True), (2, 6, 20, 10)),
        (nn.AvgPool3d(3, 2, 1, divisor_override=5), (1, 6, 9, 8, 7)),
        (nn.AdaptiveAvgPool2d((7, 6)), (2, 6, 10, 9)),
        (nn.AdaptiveMaxPool1d(5), (2, 6, 12)),
        (nn.MaxPool2d((3, 5), (2, 1), (1, 2), (2, 1)), (1, 3, 16, 20)),  # outputs lie on partitions
        (nn.AvgPool3d((3, 2, 5), (1, 2, 3), (1, 0, 2)), (1, 5, 11, 8, 13)),
        (nn.MaxPool3d((2, 3, 3), (2, 1, 1), (0, 1, 1)), (37, 1, 8, 9, 5)),
        (nn.AvgPool2d(7, 1, 3), (3, 50, 12, 20)),
        (nn.AvgPool2d(12), (3, 50, 12, 24)),
        (nn.MaxPool2d(3, 1, 1), (1, 130, 120, 150)),  # in bands
        (nn.MaxPool2d(2), (1, 140, 5, 3001)),  # pieces of a line
        (nn.MaxPool3d((1, 3, 3), 1, (0, 1, 1)), (1, 150, 3, 40, 41)),
        (nn.MaxPool3d(3, 2, 1), (2, 80, 40, 18, 20)),
        (nn.AdaptiveAvgPool3d((3, 4, 2)), (2, 70, 7, 9, 5)),
        (nn.AvgPool3d(2), (2, 60, 11, 8, 7)),
        (nn.LPPool2d(2, 3, 2), (2, 6, 10, 11)),
    ],
    ids=str,
)
def test_poolings(writer: harness.Writer, model: nn.Module, shape: tuple[int, ...]) -> None:
    check(writer, model, torch.randn(*shape))
