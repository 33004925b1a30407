"""Kernels of the rule-based writer, traced, checked and executed by the real toolchain against PyTorch."""

from __future__ import annotations

from collections.abc import Callable

import harness
import pytest
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812  the usual name


class Apply(nn.Module):
    """A module of one input from a function and the layers it uses."""

    def __init__(self, function: Callable, *layers: nn.Module) -> None:
        super().__init__()
        self.function = function
        self.layers = nn.ModuleList(layers)

    def forward(self, x):
        return self.function(x, *self.layers)


class Product(nn.Module):
    def forward(self, a, b):
        return torch.matmul(a, b)


class TurnedProduct(nn.Module):
    def forward(self, a, b):
        return torch.relu(a.transpose(-1, -2) @ b.transpose(-1, -2) + 1)


class PixelShuffle(nn.Module):
    def forward(self, x):
        return F.pixel_shuffle(x, 2) * 2


class SplitHeads(nn.Module):
    def forward(self, x, y):
        b, s, d = x.shape
        return x.view(b, s, 6, d // 6).transpose(1, 2) + y


class ScaleAndShift(nn.Module):
    def forward(self, x, y, z):
        return x * y + z


class Block(nn.Module):
    """Pre-norm MLP with a residual."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.up, self.down = nn.Linear(width, hidden), nn.Linear(hidden, width)

    def forward(self, x):
        return x + self.down(F.gelu(self.up(self.norm(x))))


class GatedBlock(nn.Module):
    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.norm = nn.RMSNorm(width)
        self.gate, self.up = nn.Linear(width, hidden, bias=False), nn.Linear(width, hidden, bias=False)
        self.down = nn.Linear(hidden, width, bias=False)

    def forward(self, x):
        y = self.norm(x)
        return x + self.down(F.silu(self.gate(y)) * self.up(y))


class Attention(nn.Module):
    def forward(self, q, k, v):
        return torch.softmax(q @ k.transpose(-1, -2) / 8, dim=-1) @ v


class MultiHead(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x):
        b, s, d = x.shape
        q, k, v = (t.view(b, s, self.heads, -1).transpose(1, 2) for t in self.qkv(x).chunk(3, -1))
        y = F.scaled_dot_product_attention(q, k, v)
        return self.out(y.transpose(1, 2).reshape(b, s, d))


def check(writer: harness.Writer, model: nn.Module, *inputs: torch.Tensor) -> harness.Session:
    session = harness.play(writer, harness.make_task(model, *inputs))
    assert session.passed, "\n".join([*session.sources[-1:], *session.results, *session.texts[-1:]])
    return session


ELEMENTWISE = {
    "gelu": F.gelu,
    "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"),
    "silu": F.silu,
    "softplus": F.softplus,
    "leaky_relu": F.leaky_relu,
    "elu_selu_celu": lambda x: F.elu(x) + F.selu(x) + F.celu(x),
    "clamps": lambda x: F.hardtanh(x) + F.relu6(x) + x.clamp(-0.5, 0.5) + x.clamp_min(0.1),
    "hard": lambda x: F.hardswish(x) + F.hardsigmoid(x) + F.hardshrink(x) + F.softshrink(x),
    "smooth": lambda x: F.mish(x) + F.softsign(x) + F.logsigmoid(x) + F.tanhshrink(x) + torch.erf(x),
    "scalars": lambda x: 2.0 - x / 3 + 1 / (x.abs() + 2) + 2**x,
    "powers": lambda x: x**2 + x**3 + x.abs() ** 0.5 + x.abs() ** 1.7 + torch.rsqrt(x.abs() + 1),
    "rounding": lambda x: x % 3 + torch.fmod(x, 2.0) + x // 2 + x.floor() + x.sign() + x.trunc() + x.ceil(),
    "logs": lambda x: x.abs().log1p() + x.expm1() + (x.abs() + 1).log2(),
    "select": lambda x: torch.where((x > 0) & (x < 1), x, torch.tensor(2.0)) + x.masked_fill(x > 0, -1.0),
    "compare": lambda x: (x >= 0).float() - (x == x).float() + torch.maximum(x, -x) + torch.minimum(x, x * x),
    "trigonometry": lambda x: torch.sin(x) + torch.cos(x),
    "lerp": lambda x: torch.lerp(x, x * 2, 0.3),
    "slices": lambda x: x[..., ::2] + x[..., 1::2],
    "glu": lambda x: F.glu(x, -1),
    "cat": lambda x: torch.cat([x, x * 2, x + 1], -1),
    "stack": lambda x: torch.stack([x, x + 1], 1),
    "permute": lambda x: (x.transpose(0, -1) + 1).contiguous(),
    "constant": lambda x: torch.full_like(x, 3.0),
    "identity": lambda x: x,
    "two_results": lambda x: (x.sum(-1), x.exp()),
    "truth": lambda x: x > 0,
    "inverse": lambda x: torch.atan(x * 3) + torch.asin(torch.tanh(x)) + torch.acos(torch.tanh(x)),
    "hyperbolic": lambda x: torch.sinh(x) + torch.asinh(x) + torch.acosh(x.abs() + 1.5) + torch.atanh(x / 9),
    "round": lambda x: torch.round(x * 4) + torch.frac(x) + torch.erfc(x) + torch.addcmul(x, x, x, value=2),
    "bits": lambda x: ((x * 9).int() & 6) | ((x * 5).int() ^ 3) | ((x.abs() * 3).int() << 2) | ~x.int(),
    "angles": lambda x: torch.atan2(x, x.flip(-1) - 0.3) + torch.hypot(x, x + 1) + torch.copysign(x + 1, -x),
    "inverse_erf": lambda x: torch.erfinv(torch.tanh(x * 2)) + torch.zeros_like(x).fill_(3),
    "triangles": lambda x: torch.tril(x) + torch.triu(x, 1) * 2 + torch.arange(1, x.shape[-1] + 1),
}
SHAPES = [(130, 48), (2, 3, 8, 10), (3, 131, 6)]


def alternating(names: dict[str, Callable]) -> list[tuple[str, tuple[int, ...]]]:
    """Each name with one of the shapes in turn: an export costs more than the rest of a case."""
    return [(name, SHAPES[i % len(SHAPES)]) for i, name in enumerate(names)]


@pytest.mark.parametrize(("name", "shape"), alternating(ELEMENTWISE), ids=str)
def test_elementwise(writer: harness.Writer, name: str, shape: tuple[int, ...]) -> None:
    check(writer, Apply(ELEMENTWISE[name]), torch.randn(*shape))


REDUCTIONS = {
    "softmax": lambda x: F.softmax(x, -1),
    "softmax_1": lambda x: F.softmax(x, 1),
    "softmax_0": lambda x: F.softmax(x, 0),
    "log_softmax": lambda x: F.log_softmax(x, -1),
    "sums": lambda x: x.mean(-1) + x.sum(-1) + x.amax(-1) - x.amin(-1) + x.max(-1)[0],
    "middle": lambda x: x.mean(1) + x.sum(1),
    "all": lambda x: x.mean() + x.sum() + x.max(),
    "prod": lambda x: (x * 0.1 + 1).prod(-1),
    "var": lambda x: x.var(-1) + x.std(-1),
    "var_outer": lambda x: torch.var(x, (0, -1)),
    "normalize": lambda x: F.normalize(x, dim=-1) + F.normalize(x, dim=1, p=1.0),
    "logsumexp": lambda x: torch.logsumexp(x, -1),
    "cosine": lambda x: F.cosine_similarity(x, x + 1, dim=-1),
    "losses": lambda x: F.mse_loss(x, x * 2) + F.l1_loss(x, x * 3),
    "any": lambda x: torch.where((x > 2).any(-1, keepdim=True), x, 0.0),
    "standardise": lambda x: (x - x.mean(-1, keepdim=True)) / (x.std(-1, keepdim=True) + 1e-5),
    "frobenius": lambda x: x / torch.norm(x),
    "entropy": lambda x: -(F.softmax(x, -1) * F.log_softmax(x, -1)).sum(-1),
    "argmax": lambda x: x.argmax(-1) + x.argmin(0).sum() + x.argmax(),
    "extremes_with_positions": lambda x: (*x.max(-1), *x.min(1, keepdim=True)),
    "topk": lambda x: torch.topk(x, 3, dim=-1),
    "order_statistics": lambda x: (*torch.kthvalue(x, 3, -1), *torch.median(x, 1, keepdim=True)),
    "counted": lambda x: torch.linalg.vector_norm(x.relu(), ord=0, dim=-1),
    "cumulative": lambda x: x.cumsum(-1) + (x * 0.2 + 1).cumprod(1) + x.cumsum(0),
    "running_extremes": lambda x: (*torch.cummax(x, -1), torch.cummin(x, 0)[0], torch.logcumsumexp(x, 1)),
    "two_softmaxes": lambda x: F.softmax(F.softmax(x * 3, 1), -1),
}


@pytest.mark.parametrize(("name", "shape"), alternating(REDUCTIONS), ids=str)
def test_reductions(writer: harness.Writer, name: str, shape: tuple[int, ...]) -> None:
    check(writer, Apply(REDUCTIONS[name]), torch.randn(*shape))


@pytest.mark.parametrize(
    ("model", "shape"),
    [
        (nn.LayerNorm(40), (3, 50, 40)),
        (nn.LayerNorm([50, 40]), (3, 50, 40)),
        (nn.RMSNorm(40), (2, 3, 50, 40)),
        (nn.GroupNorm(4, 8), (2, 8, 5, 6)),
        (nn.GroupNorm(4, 8), (3, 8, 7)),
        (nn.InstanceNorm2d(8, affine=True), (2, 8, 5, 6)),
        (nn.BatchNorm2d(8).eval(), (2, 8, 5, 6)),
        (nn.BatchNorm1d(8).eval(), (20, 8)),
    ],
    ids=str,
)
def test_norms(writer: harness.Writer, model: nn.Module, shape: tuple[int, ...]) -> None:
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        if tensor.dim() == 1 and name != "running_var":
            nn.init.normal_(tensor)
    check(writer, model, torch.randn(*shape))


@pytest.mark.parametrize(("m", "k", "n"), [(1, 32, 16), (16, 32, 1), (200, 256, 600), (131, 137, 521)])
def test_matmuls(writer: harness.Writer, m: int, k: int, n: int) -> None:
    check(writer, Product(), torch.randn(m, k), torch.randn(k, n))
    check(writer, TurnedProduct(), torch.randn(k, m), torch.randn(n, k))
    check(writer, Product(), torch.randn(3, m, k), torch.randn(3, k, n))
    check(writer, Product(), torch.randn(3, m, k), torch.randn(k, n))
    check(writer, nn.Sequential(nn.Linear(k, n), nn.Softmax(-1)), torch.randn(m, k))


@pytest.mark.parametrize(
    "shapes", [((30, 40), (40,)), ((40,), (40,)), ((40,), (40, 30)), ((2, 3, 9, 8), (2, 3, 8, 7))], ids=str
)
def test_products_of_other_ranks(writer: harness.Writer, shapes: tuple) -> None:
    check(writer, Product(), *(torch.randn(shape) for shape in shapes))


class CrossEntropy(nn.Module):
    def forward(self, x, labels):
        return F.cross_entropy(x, labels, label_smoothing=0.1)


class IntegerProduct(nn.Module):
    def forward(self, a, b):
        return torch.mm(a.int(), b.int()) + 1


class Distances(nn.Module):
    def forward(self, a, b):
        return torch.cdist(a, b), torch.cdist(a, b, p=1), torch.cdist(a, b, p=float("inf"))


class AddedProduct(nn.Module):
    def forward(self, a, b, c):
        return torch.addmv(c, a, b, beta=0.5, alpha=2)


class ByteProduct(nn.Module):
    def forward(self, a, b):
        return torch._int_mm(a, b)


def test_products_by_other_names(writer: harness.Writer) -> None:
    check(writer, Distances(), torch.randn(20, 30), torch.randn(25, 30))
    check(writer, AddedProduct(), torch.randn(40, 30), torch.randn(30), torch.randn(40))
    a, b = (torch.randint(-100, 100, shape, dtype=torch.int8) for shape in ((40, 152), (152, 64)))
    check(writer, ByteProduct(), a, b)


def test_labels_pick_their_class(writer: harness.Writer) -> None:
    check(writer, CrossEntropy(), torch.randn(70, 30), torch.randint(0, 30, (70,)))


def test_integers_are_multiplied_exactly(writer: harness.Writer) -> None:
    a, b = (torch.randint(-100, 100, shape, dtype=torch.int8) for shape in ((40, 150), (150, 60)))
    check(writer, IntegerProduct(), a, b)


def test_a_scan_of_a_row_that_does_not_fit_carries_on(writer: harness.Writer) -> None:
    session = check(writer, Apply(lambda x: torch.cumsum(x, -1)), torch.randn(2, 50257) * 0.01)
    assert "compiled: no" in session.results[0]


def test_networks(writer: harness.Writer) -> None:
    check(writer, Block(64, 150), torch.randn(2, 100, 64))
    check(writer, GatedBlock(96, 150), torch.randn(3, 70, 96))
    check(writer, MultiHead(64, 4), torch.randn(2, 50, 64))
    check(
        writer, Attention(), torch.randn(2, 3, 40, 64), torch.randn(2, 3, 50, 64), torch.randn(2, 3, 50, 32)
    )


@pytest.mark.parametrize(
    "shapes",
    [
        ((2, 8, 5, 6), (8, 1, 1), (2, 1, 5, 6)),
        ((2, 1, 5, 6), (8, 1, 6), (6,)),
        ((7, 5), (), (1,)),
        ((300, 1), (70,), ()),
    ],
    ids=str,
)
def test_broadcasts(writer: harness.Writer, shapes: tuple) -> None:
    check(writer, ScaleAndShift(), *(torch.randn(shape) for shape in shapes))


def test_tiles_of_several_axes_move_what_lies_together(writer: harness.Writer) -> None:
    session = check(writer, PixelShuffle(), torch.randn(3, 36, 15, 18))
    assert session.sources[0].count("for ") <= 1
    check(writer, SplitHeads(), torch.randn(2, 50, 192), torch.randn(2, 6, 50, 32))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_short_floats(writer: harness.Writer, dtype: torch.dtype) -> None:
    x = torch.randn(64, 96).to(dtype)
    check(writer, Apply(lambda x: F.relu(x) * 2 + 1), x)
    check(writer, Apply(lambda x: F.softmax(x, -1)), x)
    check(writer, nn.LayerNorm(96, dtype=dtype), x)
    check(writer, nn.Sequential(nn.Linear(96, 48, dtype=dtype), nn.ReLU()), x)


def test_a_mean_far_from_zero_refutes_the_one_pass_variance(writer: harness.Writer) -> None:
    session = check(writer, nn.LayerNorm(512), torch.randn(128, 512) + 1000)
    assert "verified: FAIL (mismatch)" in session.results[0]
    assert "mean_of_squares" in session.sources[0]
    assert "deviation" in session.sources[1]


def test_rows_too_long_for_the_chip_are_split(writer: harness.Writer) -> None:
    session = check(writer, Apply(lambda x: F.softmax(x, -1)), torch.randn(64, 50261))
    assert "compiled: no" in session.results[0]
    assert "196608" in session.results[0]
    assert "sequential_range" in session.sources[-1]


def test_few_long_rows_spread_over_the_partitions(writer: harness.Writer) -> None:
    session = check(writer, Apply(lambda x: F.softmax(x, -1)), torch.randn(3, 50257))
    assert "compiled: yes" in session.results[0]
    check(writer, nn.LayerNorm([30, 400]), torch.randn(2, 30, 400))


def test_a_matrix_too_large_for_the_chip_comes_in_blocks(writer: harness.Writer) -> None:
    session = check(writer, Product(), torch.randn(70, 4100), torch.randn(4100, 1500))
    assert len(session.sources) == 1
    assert "for g in" in session.sources[0]


def test_what_can_not_be_lowered_is_said(writer: harness.Writer) -> None:
    session = harness.play(writer, harness.make_task(Apply(torch.special.bessel_j0), torch.randn(4, 4)))
    assert not session.sources
    assert "aten.special_bessel_j0.default" in session.texts[-1]
