"""nl.all_reduce over the programs of a launch grid."""

import ml_dtypes
import numpy as np
import pytest
from harness import body, rules, run, trace

RNG = np.random.default_rng(5)
X = RNG.standard_normal((4, 3, 32, 8)).astype(np.float32)
ONE = "p, q = nl.program_id(0), nl.program_id(1)\nt = nl.load(x[p, q])\n"


@pytest.mark.parametrize("axes, numpy_axes", [("0", 0), ("1", 1), ("(0, 1)", (0, 1)), ("[1]", 1)])
@pytest.mark.parametrize("op", ["add", "maximum", "multiply"])
def test_each_program_gets_the_reduction_over_the_axes(op, axes, numpy_axes):
    source = body(ONE + f"nl.store(out[p, q], nl.all_reduce(t, np.{op}, {axes}))")
    expected = getattr(np, op).reduce(X, axis=numpy_axes, keepdims=True)
    got = run(source, [X], grid=(4, 3))[0]
    np.testing.assert_allclose(got, np.broadcast_to(expected, X.shape), rtol=1e-4, atol=1e-5)


def test_reductions_one_after_the_other_with_work_between():
    source = body(
        ONE
        + """
total = nl.all_reduce(nl.sum(t, axis=1, keepdims=True), nl.add, (0, 1))
centred = t - total / 96.0
peak = nl.all_reduce(nl.max(nl.abs(centred), axis=1, keepdims=True), nl.maximum, (0, 1))
nl.store(out[p, q], centred / peak)
"""
    )
    centred = X - X.sum(axis=(0, 1, 3), keepdims=True) / 96
    expected = centred / np.abs(centred).max(axis=(0, 1, 3), keepdims=True)
    np.testing.assert_allclose(run(source, [X], grid=(4, 3))[0], expected, rtol=1e-4, atol=1e-5)


def test_in_a_loop_of_every_program():
    source = body(
        """
        p = nl.program_id(0)
        acc = nl.zeros((32, 8), dtype=nl.float32)
        for i in nl.sequential_range(3):
            acc[...] = acc + nl.all_reduce(nl.load(x[p, i]) * (p + 1), np.add, 0)
        for i in nl.affine_range(3):
            nl.store(out[p, i], acc)
        """
    )
    expected = (X * np.arange(1, 5)[:, None, None, None]).sum(axis=(0, 1))
    np.testing.assert_allclose(
        run(source, [X], grid=(4,))[0], np.broadcast_to(expected, X.shape), rtol=1e-4, atol=1e-4
    )


def test_an_axis_that_is_not_reduced_stays_a_loop_of_the_grid():
    source = body(ONE + "nl.store(out[p, q], nl.all_reduce(t, np.add, 1))")
    traced = trace(source, [X], grid=(4, 3))
    assert traced.ok
    assert len(traced.program) < 1.2 * len(trace(source, [np.tile(X, (16, 1, 1, 1))], grid=(64, 3)).program)


def test_a_dtype_and_a_mask():
    source = body(
        ONE
        + """
r = nl.all_reduce(t, np.maximum, (0, 1), dtype=nl.bfloat16, mask=(nl.arange(32)[:, None] < 8 * (p + 1)))
nl.store(out[p, q], r)
"""
    )
    got = run(source, [X], grid=(4, 3))[0]
    rows = np.arange(32)[None, None, :, None] < 8 * (np.arange(4) + 1)[:, None, None, None]
    expected = np.where(rows, X, -3e38).max(axis=(0, 1)).astype(ml_dtypes.bfloat16).astype(np.float32)
    np.testing.assert_array_equal(got, np.broadcast_to(expected, X.shape))


@pytest.mark.parametrize(
    "text, rule",
    [
        ("nl.all_reduce(t, np.add, 2)", "err_program_id_axis"),
        ("nl.all_reduce(t, np.subtract, 0)", "err_unsupported_reduce_op"),
        ("nl.all_reduce(t, np.add, 0) if p == 0 else t", "err_all_reduce_mismatch"),
        ("nl.all_reduce(x, np.add, 0)", "err_unsupported_memory"),
    ],
)
def test_misuse_is_named(text, rule):
    assert rules(trace(body(ONE + f"nl.store(out[p, q], {text})"), [X], grid=(4, 3))) == [rule]
