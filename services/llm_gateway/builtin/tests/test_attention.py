"""Attention that stays on chip between its two products, against PyTorch."""

from __future__ import annotations

import math
from collections.abc import Callable

import harness
import pytest
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812  the usual name


class Attention(nn.Module):
    """softmax(scores(q, k, …)) @ v for any scores."""

    def __init__(self, scores: Callable) -> None:
        super().__init__()
        self.scores = scores

    def forward(self, q, k, v, mask):
        return torch.softmax(self.scores(q, k, mask), dim=-1) @ v


class Dot(nn.Module):
    """PyTorch's own attention with some of its options."""

    def __init__(self, **options) -> None:
        super().__init__()
        self.options = options

    def forward(self, q, k, v):
        return F.scaled_dot_product_attention(q, k, v, **self.options)


class Masked(nn.Module):
    def forward(self, q, k, v, mask):
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)


class Packed(nn.Module):
    """One projection for queries, keys and values, and heads joined again."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x):
        b, n, c = x.shape
        q, k, v = self.qkv(x).reshape(b, n, 3, self.heads, c // self.heads).permute(2, 0, 3, 1, 4).unbind(0)
        weights = ((q * 0.25) @ k.transpose(-2, -1)).softmax(dim=-1)
        return self.out((weights @ v).transpose(1, 2).reshape(b, n, c))


class TurnedResult(nn.Module):
    """Values by positions, as convolutions leave them, and a result of the same layout."""

    def forward(self, q, k, v):
        weights = torch.softmax(torch.bmm(q.transpose(1, 2), k), dim=-1)
        return torch.bmm(v, weights.transpose(1, 2))


class SeenWeights(nn.Module):
    def forward(self, q, k, v):
        weights = torch.softmax(q @ k.mT, -1)
        return weights @ v, weights.sum(-2)


def _distance(q, k):
    return torch.arange(q.shape[-2])[:, None] - torch.arange(k.shape[-2])[None, :]


def causal(q, k, mask):
    return (q @ k.mT / math.sqrt(q.shape[-1])).masked_fill(_distance(q, k) < 0, float("-inf"))


def window(q, k, mask):
    d = _distance(q, k)
    return torch.where((d >= 0) & (d < 48), q @ k.mT * 0.2, float("-inf"))


def band(q, k, mask):
    return torch.where(_distance(q, k).abs() <= 40, q @ k.mT * 0.2, float("-inf"))


def large_negative(q, k, mask):
    return q @ k.mT * 0.2 + (_distance(q, k) < 0).float() * -1e9


def soft_cap(q, k, mask):
    return (5 * torch.tanh(q @ k.mT / 40)).masked_fill(_distance(q, k) < 0, float("-inf"))


def negative(q, k, mask):
    return -0.1 * (q @ k.mT)


def random(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(*shape).to(dtype)


def heads(rows: int, columns: int, depth: int, width: int = 0, kv_heads: int = 4, dtype=torch.float32):
    return [
        random(2, 4, rows, depth, dtype=dtype),
        random(2, kv_heads, columns, depth, dtype=dtype),
        random(2, kv_heads, columns, width or depth, dtype=dtype),
    ]


def written(writer: harness.Writer, model: nn.Module, *inputs: torch.Tensor) -> str:
    """The kernel that passes at once."""
    session = harness.play(writer, harness.make_task(model, *inputs))
    assert session.passed, (session.results, session.texts, session.sources[-1:])
    assert len(session.sources) == 1
    return session.sources[-1]


@pytest.mark.parametrize("scores", [causal, window, band, large_negative, soft_cap])
def test_masks_of_positions_are_selected_where_they_matter(writer, scores):
    source = written(writer, Attention(scores), *heads(260, 260, 32), torch.ones(1))
    assert source.count("attention") == 1
    assert "affine_select" in source
    assert "nl.static_range" in source  # a tile of queries sees only the keys that it may


@pytest.mark.parametrize(
    ("options", "inputs"),
    [
        ({}, heads(64, 64, 32)),
        ({}, heads(100, 333, 40, width=72)),
        ({"is_causal": True}, heads(197, 197, 48)),
        ({}, heads(30, 577, 131)),  # ragged in keys and in depth
        ({}, heads(1, 300, 64)),
        ({"is_causal": True, "enable_gqa": True}, heads(96, 96, 32, kv_heads=2)),
        ({"enable_gqa": True}, heads(96, 96, 32, kv_heads=1)),
    ],
)
def test_attention_is_one_stage(writer, options, inputs):
    source = written(writer, Dot(**options), *inputs)
    assert source.count("# ") == 1
    assert "nl.hbm" not in source


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision(writer, dtype, monkeypatch):
    monkeypatch.setattr(harness, "TOLERANCE", 2e-2)
    assert "attention" in written(writer, Dot(is_causal=True), *heads(150, 150, 80, dtype=dtype))
    shared = heads(130, 130, 64, kv_heads=2, dtype=dtype)
    assert written(writer, Dot(is_causal=True, enable_gqa=True), *shared).count("# ") == 1
    assert "attention" in written(writer, Attention(negative), *heads(64, 64, 32, dtype=dtype), torch.ones(1))


@pytest.mark.parametrize(
    "mask",
    [
        torch.rand(80, 90) > 0.3,
        torch.rand(2, 1, 1, 90) > 0.3,
        torch.randn(2, 1, 80, 90),
        torch.randn(1, 4, 80, 1),
        (torch.rand(80, 90) > 0.3) & (torch.arange(80)[:, None] % 7 != 3),  # some queries see nothing
    ],
)
def test_masks_that_are_arguments(writer, mask):
    assert "attention" in written(writer, Masked(), *heads(80, 90, 32), mask)


def test_a_query_that_sees_nothing_gives_nan_and_no_other_does(writer):
    class Filled(nn.Module):
        def forward(self, q, k, v, mask):
            weights = (q @ k.mT).masked_fill(mask, float("-inf")).softmax(-1)
            return torch.nan_to_num(weights @ v, 7.0)

    empty = (torch.rand(60, 60) > 0.5) | (torch.arange(60)[:, None] == 5)
    assert "attention" in written(writer, Filled(), *heads(60, 60, 32), empty)


def test_long_rows_come_in_sections(writer):
    source = written(writer, Dot(), random(1, 1, 40, 64), random(1, 1, 9001, 64), random(1, 1, 9001, 64))
    assert "sections of" in source


def test_keys_beyond_the_chip_come_section_by_section(writer):
    far = [random(1, 1, 140, 96), random(1, 1, 30001, 96), random(1, 1, 30001, 96)]
    assert "sections of" in written(writer, Dot(), *far)
    # Sections that a query doesn't see at all come first.
    late = torch.where(torch.arange(30001) < 25000, float("-inf"), 0.0)[None, :]
    assert "sections of" in written(writer, Masked(), *far, late)


def test_layouts(writer):
    assert written(writer, Packed(64, 4), random(2, 70, 64)).count("attention") == 1
    assert "attention" in written(
        writer, TurnedResult(), random(2, 8, 256), random(2, 8, 256), random(2, 32, 256)
    )
    flat = [random(300, 64), random(200, 64), random(200, 96), torch.ones(1)]
    assert "attention" in written(writer, Attention(lambda q, k, mask: q @ k.T / 8), *flat)


def test_weights_that_something_else_needs_go_through_memory(writer):
    assert "attention" not in written(writer, SeenWeights(), *heads(60, 60, 32))
