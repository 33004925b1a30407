"""Operators beyond the usual ones of networks, each by itself; and those that are refused by name."""

from __future__ import annotations

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

    def forward(self, *inputs):
        return self.function(*inputs)


def check(writer: harness.Writer, model: nn.Module, *inputs: torch.Tensor) -> None:
    session = harness.play(writer, harness.make_task(model.eval(), *inputs))
    assert session.passed, "\n".join([*session.sources[-1:], *session.results, *session.texts[-1:]])


def put(x: torch.Tensor, place: tuple, values: torch.Tensor) -> torch.Tensor:
    changed = x.clone()
    changed[place] = values
    return changed


R, N = torch.randn, torch.randint
SCATTERS = {
    "scatter": (lambda x, i, y: x.scatter(1, i, y), lambda: (R(8, 12), torch.rand(8, 5).argsort(1), R(8, 5))),
    "scatter_narrow": (lambda x, i, y: x.scatter(0, i, y), lambda: (R(8, 12), N(0, 8, (4, 7)), R(6, 9))),
    "scatter_value": (lambda x, i: x.scatter(1, i, 1.5), lambda: (R(8, 12), N(0, 12, (8, 3)))),
    "scatter_add": (lambda x, i, y: x.scatter_add(0, i, y), lambda: (R(8, 12), N(0, 8, (20, 12)), R(20, 12))),
    "scatter_mean": (
        lambda x, i, y: x.scatter_reduce(1, i, y, "mean", include_self=False),
        lambda: (R(8, 12), N(0, 12, (8, 20)), R(8, 20)),
    ),
    "scatter_amax": (
        lambda x, i, y: x.scatter_reduce(1, i, y, "amax") + x.scatter_reduce(1, i, y, "prod"),
        lambda: (R(8, 12), N(0, 12, (8, 20)), R(8, 20)),
    ),
    "index_put": (lambda x, i, y: x.index_put((i,), y), lambda: (R(12, 7), torch.randperm(12)[:5], R(5, 7))),
    "index_put_pairs": (
        lambda x, i, j, y: x.index_put((i, j), y),
        lambda: (R(12, 7), torch.randperm(12)[:5] - 3, torch.randperm(7)[:5], R(5)),
    ),
    "index_put_apart": (
        lambda x, i, y: put(x, (torch.arange(4), slice(None), i), y),
        lambda: (R(4, 3, 6), N(0, 6, (4,)), R(4, 3)),
    ),
    "index_add": (
        lambda x, i, y: x.index_add(1, i, y, alpha=2),
        lambda: (R(12, 7), N(0, 7, (30,)), R(12, 30)),
    ),
    "index_reduce": (
        lambda x, i, y: x.index_reduce(0, i, y, "amin"),
        lambda: (R(12, 7), N(0, 12, (30,)), R(30, 7)),
    ),
    "mask_put": (
        lambda x: x.clone().masked_fill_(x > 1, 0.5).index_put((x > 0,), torch.tensor(3.0)),
        lambda: (R(5, 6),),
    ),
    "masked_scatter": (lambda x, y: x.masked_scatter(x > 0, y), lambda: (R(6, 7), R(42))),
    "fold": (lambda x: F.fold(x, (9, 8), (3, 2), stride=(2, 1), padding=1), lambda: (R(2, 12, 45),)),
    "unpool": (
        lambda x: F.max_unpool2d(*F.max_pool2d(x, 2, return_indices=True), 2),
        lambda: (R(2, 3, 8, 10),),
    ),
    "every_other": (lambda x, y: x.slice_scatter(y, 1, 1, 9, 3), lambda: (R(5, 11), R(5, 3))),
    "diagonal": (lambda x, y: x.diagonal_scatter(y, -2, 0, 2), lambda: (R(6, 4, 7), R(4, 4))),
    "as_strided": (lambda x: x.as_strided((4, 5, 3), (14, 2, 1), 3), lambda: (R(8, 14),)),
    "left_out": (lambda x: torch.cat([x[:, :0], x, x[:, 5:5]], 1), lambda: (R(3, 7),)),
}
SEARCHES = {
    "searchsorted": (
        lambda s, x: torch.searchsorted(s, x, right=True),
        lambda: (R(5, 20).sort(1)[0], R(5, 9)),
    ),
    "bucketize": (lambda x: torch.bucketize(x, torch.linspace(-1, 1, 9)), lambda: (R(5, 9),)),
    "histc": (lambda x: torch.histc(x, 10, -2, 2), lambda: (R(300),)),
    "mode": (lambda x: torch.mode(x, 0)[0], lambda: (N(0, 4, (17, 5)),)),
    "sort_long": (lambda x: torch.sort(x, 0, descending=True), lambda: (R(100, 3),)),
    "sort_stable": (lambda x: torch.sort(x, dim=-1, stable=True), lambda: (N(0, 9, (4, 31)),)),
    "ties": (lambda x: torch.sort(x, dim=-1, stable=True), lambda: (N(0, 9, (2, 90)),)),
    "topk_long": (lambda x: torch.topk(x, 70, 1)[0], lambda: (R(3, 150),)),
    "median": (lambda x: (torch.median(x), torch.median(x, 1)[0]), lambda: (R(3, 141),)),
}
POOLS = {
    "places": (
        lambda x: F.max_pool2d(x, 3, 2, 1, dilation=2, return_indices=True),
        lambda: (R(2, 3, 9, 10),),
    ),
    "places_ceil": (
        lambda x: F.max_pool1d(x, 4, 3, ceil_mode=True, return_indices=True),
        lambda: (R(2, 3, 18),),
    ),
    "adaptive_places": (
        lambda x: F.adaptive_max_pool2d(x, (4, 3), return_indices=True),
        lambda: (R(2, 3, 9, 10),),
    ),
}
BAGS = {
    "sum": (lambda t, i: F.embedding_bag(i, t, mode="sum"), lambda: (R(50, 12), N(0, 50, (4, 9)))),
    "offsets": (
        lambda t, i, o: F.embedding_bag(i, t, o, mode="mean"),
        lambda: (R(50, 12), N(0, 50, (20,)), torch.tensor([0, 4, 4, 15])),
    ),
    "offsets_max": (
        lambda t, i, o: F.embedding_bag(i, t, o, mode="max"),
        lambda: (R(50, 12), N(0, 50, (20,)), torch.tensor([0, 4, 4, 15])),
    ),
    "weighted": (
        lambda t, i, w: F.embedding_bag(i, t, mode="sum", per_sample_weights=w, padding_idx=3),
        lambda: (R(50, 12), N(0, 9, (4, 9)), torch.rand(4, 9)),
    ),
}
SAMPLES = {
    mode + padding: (
        lambda x, g, m=mode, p=padding: F.grid_sample(x, g, mode=m, padding_mode=p, align_corners=False),
        lambda: (R(2, 3, 7, 9), torch.rand(2, 5, 6, 2) * 2.4 - 1.2),
    )
    for mode, padding in (("bilinear", "zeros"), ("nearest", "border"), ("bicubic", "reflection"))
}
SAMPLES["volume"] = (
    lambda x, g: F.grid_sample(x, g, padding_mode="reflection", align_corners=False),
    lambda: (R(1, 2, 4, 5, 6), torch.rand(1, 3, 4, 5, 3) * 2.4 - 1.2),
)
SAMPLES["turned"] = (
    lambda x, t: F.grid_sample(x, F.affine_grid(t, (2, 3, 8, 8), align_corners=True), align_corners=True),
    lambda: (R(2, 3, 8, 8), R(2, 2, 3) * 0.5),
)
SAMPLES["antialiased"] = (
    lambda x: F.interpolate(x, size=(5, 17), mode="bilinear", antialias=True),
    lambda: (R(2, 3, 12, 13),),
)
FORMULAS = {
    "gamma": (
        lambda x: torch.lgamma(x) + torch.digamma(x.abs() + 0.3) + torch.polygamma(1, x.abs() + 0.3),
        lambda: (R(5, 6) * 3 + 0.01,),
    ),
    "bessel": (
        lambda x: torch.i0(x) + torch.special.i0e(x) + torch.special.i1(x) + torch.special.i1e(x),
        lambda: (R(5, 6) * 3,),
    ),
    "normal": (
        lambda x: torch.special.erfcx(x) + torch.special.log_ndtr(x) + torch.special.ndtri(torch.sigmoid(x)),
        lambda: (R(5, 6),),
    ),
    "numbers": (lambda x, y: torch.fmax(x, y) - torch.fmin(x, y) + torch.signbit(x), lambda: (R(5, 6), R(6))),
    "scaled": (
        lambda x, k: torch.ldexp(x, k) + torch.round(x, decimals=2),
        lambda: (R(5, 6), N(0, 4, (5, 6))),
    ),
    "rrelu": (F.rrelu, lambda: (R(5, 6),)),
    "quantised": (
        lambda x: (
            torch.fake_quantize_per_tensor_affine(x, 0.03, 3, -100, 90)
            + torch.fake_quantize_per_channel_affine(
                x, torch.linspace(0.01, 0.1, 5), torch.zeros(5).int(), 0, -9, 90
            )
        ),
        lambda: (R(5, 6),),
    ),
    "pairs": (lambda x: torch.pdist(x) + torch.pdist(x, 3), lambda: (R(9, 7),)),
    "orders": (lambda x, y: torch.cdist(x, y, 1.5) + torch.cdist(x, y, 0), lambda: (R(2, 9, 7), R(2, 8, 7))),
    "distance": (lambda x, y: torch.dist(x, y, 3), lambda: (R(5, 6), R(5, 6))),
    "bilinear": (F.bilinear, lambda: (R(3, 4, 7), R(3, 4, 9), R(5, 7, 9), R(5))),
    "gaussian": (
        lambda x, y, v: (
            F.gaussian_nll_loss(x, y, v, full=True) + F.multilabel_margin_loss(x, (y * 0).long() - 1)
        ),
        lambda: (R(9, 7), R(9, 7), torch.rand(9, 7)),
    ),
    "labels": (F.multilabel_margin_loss, lambda: (R(9, 7), torch.tensor([[3, 0, -1, 1, 2, 4, 5]] * 9))),
    "long_contraction": (lambda a, b: a @ b, lambda: (R(2, 40000), R(40000, 3))),
    "addbmm": (lambda c, a, b: torch.addbmm(c, a, b, beta=0.5), lambda: (R(4, 5), R(3, 4, 6), R(3, 6, 5))),
    "triangle": (
        lambda x: x[torch.triu_indices(6, 6, 1)[0], torch.triu_indices(6, 6, 1)[1]],
        lambda: (R(6, 6),),
    ),
    "byte_floats": (lambda x, y: x.float() * y, lambda: (R(4, 8).to(torch.float8_e5m2), R(4, 8))),
    "wide_between": (lambda x: (x.double() * 2).sum(1).float(), lambda: (R(4, 8),)),
}
ALL = {**SCATTERS, **SEARCHES, **POOLS, **BAGS, **SAMPLES, **FORMULAS}


@pytest.mark.parametrize("name", ALL)
def test_operator(writer: harness.Writer, name: str) -> None:
    function, inputs = ALL[name]
    check(writer, Apply(function), *inputs())


REFUSED = {
    "aten.native_dropout.default": lambda x: F.dropout(x, 0.5, training=True),
    "aten.randn_like.default": lambda x: x + torch.randn_like(x),
    "a mask takes as many": lambda x: x.index_put((x > 0,), x[0, :1].expand(12)),
    "complex64": lambda x: torch.fft.fft(x).abs(),
    "strides over a tensor that is a view": lambda x: x.t().as_strided((2, 2), (2, 1)) + 1,
    "aten.special_zeta.other_scalar": lambda x: torch.special.zeta(x + 3, 1.0),
}


@pytest.mark.parametrize("named", REFUSED)
def test_what_is_refused_is_named(writer: harness.Writer, named: str) -> None:
    model = Apply(REFUSED[named])
    written = harness.make_graph(model, torch.rand(3, 4))
    answer = writer.ask({"messages": [{"role": "user", "text": f"```graph\n{written}```\n"}], "tools": []})
    assert named in answer["text"], answer["text"]
    assert "node '%" in answer["text"]
