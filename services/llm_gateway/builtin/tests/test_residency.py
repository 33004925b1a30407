"""Values that stay in SBUF between stages, and those that pass through HBM."""

from __future__ import annotations

import harness
import pytest
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812  the usual name

STAYS = "# stays on chip"


class Products(nn.Module):
    """Two products with `middle` between them, over the columns of the first."""

    def __init__(self, middle, returns_middle: bool = False) -> None:
        super().__init__()
        self.middle, self.returns_middle = middle, returns_middle

    def forward(self, a, b, c):
        y = self.middle(a @ b)
        return (y, y @ c) if self.returns_middle else y @ c


class Transposed(nn.Module):
    """The first product as moving operand, as it is and turned, and as stationary operand without a turn."""

    def forward(self, a, b, c):
        y = a @ b
        return c @ y, (c[:, : y.shape[1]] @ y.transpose(-1, -2)), y.transpose(-1, -2) @ c.transpose(-1, -2)


class Heads(nn.Module):
    def __init__(self, width: int, heads: int, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.heads = heads
        self.qkv, self.out = nn.Linear(width, 3 * width, dtype=dtype), nn.Linear(width, width, dtype=dtype)

    def forward(self, x):
        b, s, d = x.shape
        q, k, v = (t.view(b, s, self.heads, -1).transpose(1, 2) for t in self.qkv(x).chunk(3, -1))
        y = torch.softmax(q @ k.transpose(-1, -2) * 0.2, -1) @ v
        return x + self.out(y.transpose(1, 2).reshape(b, s, d))


class Fork(nn.Module):
    """One value with readers that agree with its tiles and one that doesn't."""

    def forward(self, a, b):
        y = torch.relu(a @ b)
        return y.softmax(-1) + y, y.sum(0), y.flip(-1).cumsum(-1)


class Columns(nn.Module):
    """Statistics of rows, and one number for everything, that later stages read."""

    def forward(self, a, b):
        y = a @ b
        scale = y.abs().amax(-1, keepdim=True)
        total = y.mean()
        return (a / scale) @ b * total


def check(writer: harness.Writer, model: nn.Module, *inputs: torch.Tensor) -> str:
    session = harness.play(writer, harness.make_task(model, *inputs))
    assert session.passed, "\n".join([*session.sources[-1:], *session.results, *session.texts[-1:]])
    return session.sources[-1]


def in_hbm(source: str) -> int:
    """Tensors in HBM that are neither arguments nor results."""
    return source.count("buffer=nl.hbm")


MIDDLE = {
    "log_softmax": lambda y: F.log_softmax(y, -1),
    "layer_norm": lambda y: F.layer_norm(y, y.shape[-1:]),
    "relu": F.relu,
    "two_norms": lambda y: F.rms_norm(F.softmax(y, -1), y.shape[-1:]) + y,
}


@pytest.mark.parametrize("rows", [64, 131, 300])
@pytest.mark.parametrize("name", MIDDLE)
def test_rows_stay_on_chip(writer: harness.Writer, name: str, rows: int) -> None:
    model = Products(MIDDLE[name])
    source = check(writer, model, torch.randn(rows, 70), torch.randn(70, 150), torch.randn(150, 60))
    assert in_hbm(source) == 0
    assert STAYS in source


def test_a_result_is_stored_and_stays(writer: harness.Writer) -> None:
    model = Products(F.gelu, returns_middle=True)
    source = check(writer, model, torch.randn(200, 70), torch.randn(70, 150), torch.randn(150, 60))
    assert in_hbm(source) == 0
    assert source.count("nl.load(out") == 0


def test_either_operand_of_a_product(writer: harness.Writer) -> None:
    for rows, columns in ((96, 80), (260, 100), (131, 60)):
        check(writer, Transposed(), torch.randn(rows, 40), torch.randn(40, columns), torch.randn(50, rows))


def test_columns_and_numbers(writer: harness.Writer) -> None:
    check(writer, Columns(), torch.randn(150, 40), torch.randn(40, 60))


def test_readers_that_disagree(writer: harness.Writer) -> None:
    source = check(writer, Fork(), torch.randn(200, 40), torch.randn(40, 90))
    assert STAYS in source
    assert in_hbm(source) > 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("shape", [(2, 65, 96), (1, 128, 64), (3, 50, 64)], ids=str)
def test_attention(writer: harness.Writer, shape: tuple[int, ...], dtype: torch.dtype) -> None:
    tolerance = harness.TOLERANCE
    harness.TOLERANCE = 2e-2 if dtype == torch.bfloat16 else tolerance
    try:
        source = check(writer, Heads(shape[-1], 4, dtype), torch.randn(*shape).to(dtype))
        # Only what the attention itself takes and gives.
        assert in_hbm(source) <= 2
    finally:
        harness.TOLERANCE = tolerance


def test_what_does_not_fit_passes_through_hbm(writer: harness.Writer) -> None:
    model = Products(F.relu)
    source = check(writer, model, torch.randn(4096, 16), torch.randn(16, 1024), torch.randn(1024, 8))
    assert in_hbm(source) == 1
    assert STAYS not in source
