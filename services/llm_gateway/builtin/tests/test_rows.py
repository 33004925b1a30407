"""Selections among rows, scans in either direction, loops that export unrolls, and gathers of elements."""

from __future__ import annotations

import harness
import pytest
import torch
from torch import nn


class Apply(nn.Module):
    """A function as a module."""

    def __init__(self, function) -> None:  # noqa: ANN001
        super().__init__()
        self.function = function

    def forward(self, *tensors: torch.Tensor) -> torch.Tensor | tuple[torch.Tensor, ...]:
        """The function of the tensors."""
        return self.function(*tensors)


def check(writer: harness.Writer, function, *inputs: torch.Tensor) -> harness.Session:  # noqa: ANN001
    """The first kernel has to be right."""
    session = harness.play(writer, harness.make_task(Apply(function), *inputs))
    assert session.passed, (session.texts, session.results, session.sources[-1:])
    assert len(session.sources) == 1
    return session


def distinct(*shape: int) -> torch.Tensor:
    """A shuffled tensor without equal elements, some of them negative."""
    count = torch.Size(shape).numel()
    return (torch.randperm(count).float() - count / 2).reshape(shape)


@pytest.mark.parametrize(
    "function",
    [
        lambda x: torch.topk(x, 8, dim=-1),
        lambda x: torch.topk(x, 3, dim=-1, largest=False),
        lambda x: torch.topk(x, 20, dim=-1),
        lambda x: torch.topk(x, 2, dim=0),
        lambda x: torch.sort(x, dim=-1),
        lambda x: torch.sort(x, dim=-1, descending=True).values,
        lambda x: (*torch.topk(x, 4, dim=-1), *torch.topk(x, 9, dim=-1), *x.max(-1), x.argmin(-1)),
        lambda x: torch.topk(torch.softmax(x * 0.001, -1), 5, dim=-1).values,
    ],
)
@pytest.mark.parametrize("shape", [(130, 60)], ids=str)
def test_the_largest_few_come_by_eights(writer: harness.Writer, function, shape: tuple[int, ...]) -> None:  # noqa: ANN001
    session = check(writer, function, distinct(*shape))
    assert "nisa.max8" in session.sources[0]


def test_equal_elements_have_positions_of_their_own(writer: harness.Writer) -> None:
    x = torch.tensor([0.0] * 20 + [3.0, 1.0, 3.0, 2.0]).repeat(4, 1)
    task = harness.make_task(Apply(lambda x: torch.topk(x, 4, dim=-1)), x)
    session = harness.play(writer, task)
    assert session.passed, session.results
    assert "equal" in session.texts[1]


def test_the_first_of_equal_extremes_is_told(writer: harness.Writer) -> None:
    check(writer, lambda x: (x.argmax(-1), x.argmin(-1)), torch.randint(0, 4, (60, 50)).to(torch.bfloat16))


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_scans_from_the_end(writer: harness.Writer, axis: int) -> None:
    x = torch.randn(20, 33, 41)
    check(writer, lambda x: x.flip(axis).cumsum(axis).flip(axis) - x, x)
    check(writer, lambda x: torch.cummax(x.flip(axis), axis)[0].flip(axis), x)


def test_a_long_scan_from_the_end_is_split(writer: harness.Writer) -> None:
    x = torch.randn(2, 50257) * 0.01
    task = harness.make_task(Apply(lambda x: x.flip(-1).cumsum(-1).flip(-1)), x)
    session = harness.play(writer, task)
    assert session.passed, session.results


def test_reversed_rows_are_turned_on_chip(writer: harness.Writer) -> None:
    check(writer, lambda x: x.flip(-1) + x, torch.randn(130, 70))
    check(writer, lambda x: x.flip(-1).sum(-1) + (x.flip(0) * x).sum(-1), torch.randn(130, 70))


def recurrence(coefficient, addend, start):  # noqa: ANN001, ANN201
    """A loop over columns, h = coefficient(t) * h + addend(t), that returns all its states and the last."""

    def run(*tensors: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        h = start(*tensors)
        states = []
        for t in range(tensors[0].shape[-1]):
            h = coefficient(t, *tensors) * h + addend(t, *tensors)
            states.append(h)
        return torch.stack(states, dim=-1), h

    return run


@pytest.mark.parametrize(
    "loop",
    [
        recurrence(
            lambda t, a, b: a[..., t], lambda t, a, b: b[..., t], lambda a, b: torch.zeros_like(b[..., 0])
        ),
        recurrence(lambda t, a, b: 0.9, lambda t, a, b: 0.1 * b[..., t], lambda a, b: a[..., 0]),
        recurrence(
            lambda t, a, b: torch.sigmoid(a[..., t]),
            lambda t, a, b: (1 - torch.sigmoid(a[..., t])) * b[..., t],
            lambda a, b: b[..., 3] * 2,
        ),
        recurrence(lambda t, a, b: a[..., 0], lambda t, a, b: b[..., t], lambda a, b: b[..., 0]),
        recurrence(lambda t, a, b: a[..., 11 - t], lambda t, a, b: b[..., t], lambda a, b: b[..., 0]),
    ],
)
@pytest.mark.parametrize("shape", [(130, 12), (3, 7, 12)], ids=str)
def test_unrolled_recurrences_are_scans(writer: harness.Writer, loop, shape: tuple[int, ...]) -> None:  # noqa: ANN001
    session = check(writer, loop, torch.rand(*shape), torch.randn(*shape))
    assert "tensor_tensor_scan" in session.sources[0]


def test_states_that_the_loop_uses_otherwise_stay_unrolled(writer: harness.Writer) -> None:
    def loop(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        h = torch.zeros_like(b[0])
        sums = []
        for t in range(6):
            h = a[t] * h + b[t]
            sums.append((h * b[t]).sum(-1))
        return torch.stack(sums)

    check(writer, loop, torch.rand(6, 20, 30), torch.randn(6, 20, 30))


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_elements_are_gathered_one_by_one(writer: harness.Writer, axis: int, dtype: torch.dtype) -> None:
    x = torch.randn(9, 31, 23).to(dtype)
    index = torch.randint(0, x.shape[axis], (9, 23, 21))
    check(writer, lambda x, index: torch.gather(x, axis, index) * 2, x, index)


SPREAD = {
    "groups": (nn.GroupNorm(3, 12), (2, 12, 9, 10)),
    "one_group": (nn.GroupNorm(1, 6), (3, 6, 9, 10)),
    "planes": (nn.LayerNorm([7, 9, 11]), (6, 7, 9, 11)),
    "instances": (nn.InstanceNorm2d(5, affine=True), (3, 5, 26, 26)),
    "channels_of_a_batch": (nn.BatchNorm2d(5, track_running_stats=False), (4, 5, 12, 13)),
    "whole": (Apply(lambda x: x / torch.norm(x) + x.max() - x.min() + x.mean()), (31, 7, 40)),
    "few_rows": (Apply(lambda x: x.amax((1, 2)) + x.amin((1, 2)) - x.mean((1, 2))), (6, 16, 75)),
    "few_rows_after_others": (Apply(lambda x: x.amax((0, 2)) - x.sum((0, 2))), (8, 5, 300)),
    "long_rows": (Apply(lambda x: (x - x.amax(-1, keepdim=True)).exp().sum(-1).log()), (2, 30000)),
    "a_row_and_its_sum": (Apply(lambda x: x / x.sum((1, 2), keepdim=True).abs()), (4, 45, 60)),
    "weighted_rows": (Apply(lambda x: (x * x.sum(-1).mean(-1)[:, None, None]).sum((1, 2))), (4, 60, 90)),
}


@pytest.mark.parametrize("name", SPREAD)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_rows_spread_over_partitions(
    writer: harness.Writer, name: str, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, shape = SPREAD[name]
    if dtype != torch.float32:
        if name in ("long_rows", "weighted_rows", "whole"):
            pytest.skip("rounds between its steps")
        monkeypatch.setattr(harness, "TOLERANCE", 3e-2)
    for tensor in model.parameters():
        nn.init.normal_(tensor)
    session = harness.play(writer, harness.make_task(model.to(dtype), torch.rand(*shape).to(dtype)))
    model.to(torch.float32)
    assert session.passed, (session.results, session.sources[-1])
    assert "partitions each" in session.sources[-1]


def test_an_infinite_group_leaves_the_others_alone(writer: harness.Writer) -> None:
    x = torch.rand(4, 6, 9, 10)
    x[1, 2, 3, 4] = float("inf")
    task = harness.make_task(Apply(lambda x: x.sum((1, 2, 3)) + x.amax((2, 3)).sum(1)), x)
    session = harness.play(writer, task)
    assert session.passed, session.results


FUSED = {
    "two_numbers": lambda x: (2 - x * 3) * (x + 1) - torch.clamp(x, -0.5, 0.7),
    "number_and_tile": lambda x: (x * 0.5 - x.flip(0)) + (1.5 - x) * x.flip(0) + (x.flip(0) - (3 - x)),
    "columns": lambda x: (x - x.mean(-1, keepdim=True)) * x.amax(-1, keepdim=True) + x[:, :1],
    "activations": lambda x: (
        torch.exp(x - 1) + torch.tanh(2 - x) + torch.sigmoid(x * 0.3) + torch.relu(x + 0.2)
    ),
    "shifted": lambda x: torch.exp(x - x.amax(-1, keepdim=True)) + torch.exp(x.amin(-1, keepdim=True) - x),
    "squares": lambda x: (x * x).sum(-1, keepdim=True) + (x - 1).square().mean(-1, keepdim=True) + x,
    "quotients": lambda x: (x / 4 + x / 3) / 1 - (x.abs() + 1).log() / 8,
    "read_twice": lambda x: (x + 1) * (x + 1) + torch.exp(x + 1),
}


@pytest.mark.parametrize("name", FUSED)
def test_several_operations_in_one_instruction(writer: harness.Writer, name: str) -> None:
    session = check(writer, FUSED[name], torch.randn(130, 70))
    words = ("nisa.tensor_scalar", "nisa.scalar_tensor_tensor", "nisa.activation")
    assert any(word in session.sources[0] for word in words)


def test_fused_short_floats(writer: harness.Writer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(harness, "TOLERANCE", 3e-2)
    x = torch.randn(130, 70).to(torch.bfloat16)
    check(writer, lambda x: torch.exp((x - x.mean(-1, keepdim=True)) * 0.5) + (x * 2 - 1) * x, x)
