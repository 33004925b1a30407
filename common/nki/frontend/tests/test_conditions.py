"""Conditions on loop indices: the right result, and only the loops that decide change their form."""

from __future__ import annotations

import itertools
import random
import re

import _nki
import numpy as np
import pytest
from harness import HEAD, body, rules, run, trace


def loops(source: str, arrays) -> list[int]:
    """Trip counts of the program's loops in its order."""
    traced = trace(source, arrays)
    assert traced.ok, traced.diagnostics
    return [int(n) for n in re.findall(r"step \d+ x (\d+)", _nki.to_string(traced.program))]


def rows(count: int) -> np.ndarray:
    """One number in each row."""
    return np.arange(count * 4, dtype=np.float32).reshape(count, 4)


def test_a_threshold_cuts_its_loop_in_two_and_leaves_the_others_alone():
    source = body(
        """
        n = 5
        for h in nl.affine_range(6):
            for i in nl.affine_range(20):
                row = h * 20 + i
                if i < n:
                    bound_here = nl.load(x[nl.ds(row, 1), :])
                    nl.store(out[nl.ds(row, 1), :], bound_here * 2.0)
                else:
                    bound_there = nl.load(x[nl.ds(row, 1), :])
                    nl.store(out[nl.ds(row, 1), :], bound_there)
        """
    )
    x = rows(120)
    expected = np.where(np.arange(120)[:, None] % 20 < 5, x * 2, x)
    np.testing.assert_array_equal(run(source, [x])[0], expected)
    assert loops(source, [x]) == [6, 5, 15]


# Condition, and the trip counts of the loops over i that it makes of one of 12 iterations (one iteration is
# written out without a loop).
SHAPES = {
    "i < 5": [5, 7],
    "i == 0": [11],
    "i == 11": [11],
    "i != 4": [4, 7],
    "not i < 5": [5, 7],
    "i >= 2 and i < 9": [2, 7, 3],
    "(i >= 2) & (i < 9)": [2, 7, 3],
    "(i < 2) | (i > 9)": [2, 8, 2],
    "~(i < 5)": [5, 7],
    "(i < 5) & flag": [5, 7],
    "flag & (i < 5)": [5, 7],
    "(i * 128 >= 512) & flag": [4, 8],
    "i < 2.5": [3, 9],
    "i": [11],
    "i // 4 == 1": [4, 4, 4],
    "2 <= i < 4": [2, 2, 8],
    "max(i, 6) > 6": [6, 5],
    "i < 12": [12],
    "i > 100": [12],
    "i % 2 == 0": [],
    "i % 6 < 3": [3, 3, 3, 3],
    "(i + 3) // 5 > 1": [7, 5],
    "12 - i > 2 * i": [4, 8],
    "i in (3, 7)": [3, 3, 4],
}


@pytest.mark.parametrize("kind", ["affine_range", "sequential_range"])
@pytest.mark.parametrize("condition", SHAPES)
def test_each_form_of_condition(condition, kind):
    source = body(
        f"""
        flag = True
        for i in nl.{kind}(12):
            t = nl.load(x[nl.ds(i, 1), :])
            if {condition}:
                t[...] = t * 3.0
            nl.store(out[nl.ds(i, 1), :], t)
        """
    )
    x = rows(12)
    takes = [
        bool(eval(condition, {"i": i, "flag": True})) if "~" not in condition else i >= 5 for i in range(12)
    ]  # noqa: S307
    np.testing.assert_array_equal(run(source, [x])[0], np.where(np.array(takes)[:, None], x * 3, x))
    assert loops(source, [x]) == SHAPES[condition]


def test_numbers_bound_in_branches_are_right_after_them():
    source = body(
        """
        for i in nl.affine_range(12):
            if i < 4:
                offset = 0
                factor = 2.0
            elif i < 7:
                offset = 1
                factor = 3.0
            else:
                offset = 2
                factor = 4.0
            scale = 10.0 if i >= 10 else 1.0
            t = nl.load(x[nl.ds(i, 1), :])
            nl.store(out[nl.ds(i, 1), :], t * (factor * scale) + offset)
        """
    )
    x = rows(12)
    i = np.arange(12)[:, None]
    expected = x * (np.select([i < 4, i < 7], [2, 3], 4) * np.where(i >= 10, 10, 1)) + np.select(
        [i < 4, i < 7], [0, 1], 2
    )
    np.testing.assert_array_equal(run(source, [x])[0], expected.astype(np.float32))


def test_a_tensor_bound_in_a_branch_ends_with_it():
    source = body(
        """
        for i in nl.affine_range(12):
            if i < 4:
                t = nl.load(x[nl.ds(i, 1), :])
            else:
                t = nl.load(x[nl.ds(0, 1), :])
            nl.store(out[nl.ds(i, 1), :], t)
        """
    )
    assert rules(trace(source, [rows(12)])) == ["err_local_variable_used_out_of_scope"]


def test_conditions_in_nested_conditions_loops_and_helpers():
    source = HEAD + (
        """
def scaled(t, i):
    result = nl.copy(t)
    if i > 6:
        if i == 9:
            result[...] = t * 7.0
        else:
            result[...] = t * 5.0
    return result

@nki.jit
def nki_kernel(x):
    out = nl.ndarray(x.shape, dtype=x.dtype, buffer=nl.shared_hbm)
    part = 0
    while part < 2:
        for half in range(2):
            for i in nl.affine_range(12):
                row = part * 24 + half * 12 + i
                t = nl.load(x[nl.ds(row, 1), :])
                if part == 1:
                    if i < 3:
                        for k in nl.sequential_range(3):
                            if k >= i:
                                t[...] = t + 1.0
                nl.store(out[nl.ds(row, 1), :], scaled(t, i))
        part += 1
    return out
"""
    )
    x = rows(48)
    i = (np.arange(48) % 12)[:, None]
    added = np.where((np.arange(48)[:, None] >= 24) & (i < 3), 3 - i, 0)
    expected = (x + added) * np.select([i == 9, i > 6], [7, 5], 1)
    np.testing.assert_array_equal(run(source, [x])[0], expected.astype(np.float32))


ATTENTION = (
    HEAD
    + '''
@nki.jit
def nki_kernel(q, k, v):
    """Causal flash attention of one head, [d, s] queries and keys, in blocks of 32 rows and 128 keys."""
    d, s = q.shape
    use_causal_mask = True
    QT, KT = 32, 128
    out = nl.ndarray((s, d), dtype=q.dtype, buffer=nl.shared_hbm)
    for i in nl.affine_range(s // QT):
        qt = nl.load(q[:, nl.ds(i * QT, QT)])
        acc = nl.zeros((QT, d), dtype=nl.float32)
        total = nl.zeros((QT, 1), dtype=nl.float32)
        peak = nl.full((QT, 1), -30000.0, dtype=nl.float32)
        for j in nl.sequential_range(s // KT):
            forward_mask = i * QT + QT > j * KT
            if (i * QT + QT > j * KT) & use_causal_mask:
                kt = nl.load(k[:, nl.ds(j * KT, KT)])
                vt = nl.load(v[nl.ds(j * KT, KT), :])
                scores = nl.copy(nl.matmul(qt, kt, transpose_x=True))
                if i * QT < j * KT + KT - 1:
                    ip, jf = nl.arange(QT)[:, None], nl.arange(KT)[None, :]
                    scores = nisa.affine_select(pred=(i * QT + ip >= j * KT + jf), on_true_tile=scores,
                                                on_false_value=-30000.0)
                    top = nl.maximum(peak, nl.max(scores, axis=1, keepdims=True))
                    weights = nl.exp(scores - top)
                    old = nl.exp(peak - top)
                    acc[...] = acc * old + nl.matmul(weights, vt)
                    total[...] = total * old + nl.sum(weights, axis=1, keepdims=True)
                    peak[...] = nl.copy(top)
                else:
                    top = nl.maximum(peak, nl.max(scores, axis=1, keepdims=True))
                    weights = nl.exp(scores - top)
                    old = nl.exp(peak - top)
                    acc[...] = acc * old + nl.matmul(weights, vt)
                    total[...] = total * old + nl.sum(weights, axis=1, keepdims=True)
                    peak[...] = nl.copy(top)
        nl.store(out[nl.ds(i * QT, QT), :], acc / total)
    return out
'''
)


def test_causal_attention_that_skips_blocks():
    rng = np.random.default_rng(1)
    d, s = 16, 512
    q, k = (rng.standard_normal((d, s)).astype(np.float32) for _ in range(2))
    v = rng.standard_normal((s, d)).astype(np.float32)
    scores = np.where(np.tril(np.ones((s, s), bool)), q.T @ k, -np.inf)
    weights = np.exp(scores - scores.max(1, keepdims=True))
    expected = weights / weights.sum(1, keepdims=True) @ v
    np.testing.assert_allclose(run(ATTENTION, [q, k, v])[0], expected, atol=1e-3, rtol=1e-3)
    # 16 query blocks; the blocks of 128 keys change what they do every fourth of them.
    outer = [n for n in loops(ATTENTION, [q, k, v]) if n == 4]
    assert len(outer) >= 4


def _random_condition(rng: random.Random, depth: int = 0) -> str:
    if depth < 2 and rng.random() < 0.4:
        a, b = _random_condition(rng, depth + 1), _random_condition(rng, depth + 1)
        return rng.choice([f"({a}) & ({b})", f"({a}) | ({b})", f"({a}) and ({b})", f"not ({a})"])
    term = rng.choice(["i", "j", "k", "i - j", "2 * i + j", "i + j - k", "3 * j - k", "i // 2", "j % 3",
                       "(i + 2 * j) // 3", "(i - k) % 2"])  # fmt: skip
    return f"{term} {rng.choice(['<', '<=', '>', '>=', '==', '!='])} {rng.randint(-3, 7)}"


@pytest.mark.parametrize("seed", range(40))
def test_random_conditions_agree_with_python(seed):
    rng = random.Random(seed)
    first, second = _random_condition(rng), _random_condition(rng)
    n = [rng.randint(1, 6) for _ in range(3)]
    start, step = rng.randint(0, 2), rng.randint(1, 3)
    source = body(
        f"""
        for i in nl.affine_range({n[0]}):
            for j in nl.sequential_range({start}, {start + step * n[1]}, {step}):
                for k in nl.affine_range({n[2]}):
                    row = (i * {n[1]} + (j - {start}) // {step}) * {n[2]} + k
                    t = nl.load(x[nl.ds(row, 1), :])
                    if {first}:
                        t[...] = t + 1000.0
                        if {second}:
                            t[...] = t * 2.0
                    elif {second}:
                        t[...] = t * 4.0
                    nl.store(out[nl.ds(row, 1), :], t)
        """
    )
    x = rows(n[0] * n[1] * n[2])
    expected = x.copy()
    places = itertools.product(range(n[0]), range(start, start + step * n[1], step), range(n[2]))
    for row, (i, j, k) in enumerate(places):
        names = {"i": i, "j": j, "k": k}
        a, b = eval(first, names), eval(second, names)  # noqa: S307
        if a:
            expected[row] += 1000
            expected[row] *= 2 if b else 1
        elif b:
            expected[row] *= 4
    np.testing.assert_array_equal(run(source, [x])[0], expected)


def test_loop_bounds_that_depend_on_another_index():
    source = body(
        """
        for i in nl.affine_range(6):
            for j in nl.sequential_range(i + 1):
                t = nl.load(x[nl.ds(i * 6 + j, 1), :])
                if j * 2 >= i:
                    t[...] = t * 2.0
                nl.store(out[nl.ds(i * 6 + j, 1), :], t)
            for j in nl.affine_range(i + 1, 6):
                nl.store(out[nl.ds(i * 6 + j, 1), :], nl.zeros((1, 4), dtype=x.dtype))
        """
    )
    x = rows(36)
    i, j = np.divmod(np.arange(36)[:, None], 6)
    np.testing.assert_array_equal(
        run(source, [x])[0], np.select([j > i, j * 2 >= i], [0 * x, 2 * x], x).astype(np.float32)
    )


def test_accumulation_in_psum_goes_on_over_a_cut():
    source = HEAD + (
        """
@nki.jit
def nki_kernel(a, b):
    out = nl.ndarray((32, 64), dtype=a.dtype, buffer=nl.shared_hbm)
    total = nl.zeros((32, 64), dtype=nl.float32, buffer=nl.psum)
    for k in nl.affine_range(10):
        if k != 3:
            total += nl.matmul(nl.load(a[nl.ds(k * 16, 16), :]), nl.load(b[nl.ds(k * 16, 16), :]), transpose_x=True)
    nl.store(out, nl.copy(total))
    return out
"""
    )
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((160, 32), dtype=np.float32), rng.standard_normal((160, 64), dtype=np.float32)
    keep = np.arange(160) // 16 != 3
    np.testing.assert_allclose(run(source, [a, b])[0], a[keep].T @ b[keep], atol=1e-3)
    assert loops(source, [a, b]) == [3, 6]


def test_a_threshold_costs_nothing_however_many_iterations():
    source = body(
        """
        t = nl.load(x)
        for i in nl.sequential_range(2**40):
            for j in nl.sequential_range(2**20):
                if i * 4096 + j < 100:
                    t[...] = t + 1.0
        nl.store(out, t)
        """
    )
    assert loops(source, [rows(4)])


@pytest.mark.parametrize("text", ["if i % 2 == 0:", "for _ in range(i % 2):"])
def test_what_would_be_too_large_is_refused(text):
    source = body(
        f"""
        t = nl.load(x)
        for i in nl.sequential_range(10**7):
            {text}
                t[...] = t + 1.0
        nl.store(out, t)
        """
    )
    assert rules(trace(source, [rows(4)])) == ["err_program_too_large"]


def test_a_grid_index_and_a_loop_index_decide_together():
    source = body(
        """
        p = nl.program_id(0)
        for i in nl.affine_range(8):
            t = nl.load(x[nl.ds(p * 8 + i, 1), :])
            if p * 2 > i:
                t[...] = t * 2.0
            nl.store(out[nl.ds(p * 8 + i, 1), :], t)
        """
    )
    x = rows(32)
    p, i = np.divmod(np.arange(32)[:, None], 8)
    np.testing.assert_array_equal(run(source, [x], grid=(4,))[0], np.where(p * 2 > i, x * 2, x))


@pytest.mark.parametrize("text", ["if last < 2:", "while last > 3:", "for _ in range(last):", "if i > last:"])
def test_the_index_of_a_loop_that_has_ended_decides_nothing(text):
    source = body(
        f"""
        t = nl.load(x)
        for last in nl.affine_range(8):
            t[...] = t + 1.0
        for i in nl.affine_range(3):
            {text}
                t[...] = t + 1.0
        nl.store(out, t)
        """
    )
    assert rules(trace(source, [rows(4)])) == ["err_local_variable_used_out_of_scope"]
