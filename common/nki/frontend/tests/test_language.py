"""Functions of nki.language against NumPy, each through trace, check and execution."""

import math

import numpy as np
import pytest
from harness import body, run, trace

RNG = np.random.default_rng(3)
X = RNG.standard_normal((64, 40)).astype(np.float32)
POSITIVE = RNG.random((64, 40)).astype(np.float32) + 0.1
INTS = RNG.integers(-50, 50, (64, 40)).astype(np.int32)


def _erf(x):
    return np.vectorize(math.erf)(x)


def _sigmoid(x):
    return 1 / (1 + np.exp(-x))


def _softplus(x):
    return np.log1p(np.exp(x))


UNARY = {
    "abs": np.abs, "arctan": np.arctan, "ceil": np.ceil, "cos": np.cos, "erf": _erf,
    "erf_dx": lambda x: 2 / np.sqrt(np.pi) * np.exp(-x * x), "exp": np.exp, "floor": np.floor,
    "gelu": lambda x: x * 0.5 * (1 + _erf(x / np.sqrt(2))),
    "gelu_apprx_tanh": lambda x: 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))),
    "gelu_dx": lambda x: 0.5 * (1 + _erf(x / np.sqrt(2))) + x * np.exp(-x * x / 2) / np.sqrt(2 * np.pi),
    "mish": lambda x: x * np.tanh(_softplus(x)), "negative": np.negative, "relu": lambda x: np.maximum(x, 0),
    "sigmoid": _sigmoid, "sign": np.sign, "silu": lambda x: x * _sigmoid(x),
    "silu_dx": lambda x: _sigmoid(x) * (1 + x * (1 - _sigmoid(x))), "sin": np.sin, "softplus": _softplus,
    "square": np.square, "tan": np.tan, "tanh": np.tanh, "trunc": np.trunc,
}  # fmt: skip
UNARY_POSITIVE = {
    "log": np.log,
    "sqrt": np.sqrt,
    "rsqrt": lambda x: 1 / np.sqrt(x),
    "reciprocal": np.reciprocal,
}
BINARY = {
    "add": np.add, "subtract": np.subtract, "multiply": np.multiply, "divide": np.divide, "maximum": np.maximum,
    "minimum": np.minimum, "mod": np.mod, "fmod": np.fmod,
}  # fmt: skip
COMPARE = ("equal", "not_equal", "greater", "greater_equal", "less", "less_equal", "logical_and", "logical_or",
           "logical_xor")  # fmt: skip
BITS = ("bitwise_and", "bitwise_or", "bitwise_xor", "left_shift", "right_shift")


def close(a, b, tolerance=2e-4):
    np.testing.assert_allclose(
        np.asarray(a, np.float64), np.asarray(b, np.float64), rtol=tolerance, atol=tolerance
    )


@pytest.mark.parametrize("name", sorted(UNARY))
def test_unary(name):
    close(run(body(f"nl.store(out, nl.{name}(nl.load(x)))"), [X])[0], UNARY[name](X.astype(np.float64)))


@pytest.mark.parametrize("name", sorted(UNARY_POSITIVE))
def test_unary_of_positive_numbers(name):
    close(run(body(f"nl.store(out, nl.{name}(nl.load(x)))"), [POSITIVE])[0], UNARY_POSITIVE[name](POSITIVE))


@pytest.mark.parametrize("name", sorted(BINARY))
@pytest.mark.parametrize("right", ["nl.load(y)", "nl.load(y[:, 0:1])", "nl.load(y[0:1, :])", "0.75"])
def test_binary(name, right):
    source = body(f"nl.store(out, nl.{name}(nl.load(x), {right}))", "x, y")
    other = {
        "nl.load(y)": POSITIVE,
        "nl.load(y[:, 0:1])": POSITIVE[:, 0:1],
        "nl.load(y[0:1, :])": POSITIVE[0:1],
    }
    close(run(source, [X, POSITIVE])[0], BINARY[name](X, other.get(right, np.float32(0.75))), 1e-3)


def test_power():
    close(run(body("nl.store(out, nl.power(nl.load(x), nl.load(y)))", "x, y"), [POSITIVE, X])[0], POSITIVE**X)
    close(run(body("nl.store(out, nl.power(nl.load(x), 2.5))"), [POSITIVE])[0], POSITIVE**2.5)


@pytest.mark.parametrize("name", COMPARE)
def test_comparison_and_logic(name):
    a, b = np.round(X), np.round(POSITIVE)
    got = run(body(f"nl.store(out, nl.{name}(nl.load(x), nl.load(y)))", "x, y"), [a, b])[0]
    close(got, getattr(np, name)(a, b))


def test_logical_not_and_invert():
    close(
        run(body("nl.store(out, nl.logical_not(nl.load(x)))"), [np.round(X)])[0], np.logical_not(np.round(X))
    )
    close(run(body("nl.store(out, nl.invert(nl.load(x)))"), [INTS])[0], ~INTS)
    close(run(body("nl.store(out, ~nl.load(x))"), [INTS])[0], ~INTS)


@pytest.mark.parametrize("name", BITS)
def test_bits(name):
    a, b = np.abs(INTS), np.abs(INTS) % 7
    close(
        run(body(f"nl.store(out, nl.{name}(nl.load(x), nl.load(y)))", "x, y"), [a, b])[0],
        getattr(np, name)(a, b),
    )
    close(run(body(f"nl.store(out, nl.{name}(nl.load(x), 3))"), [a])[0], getattr(np, name)(a, 3))


OPERATORS = {
    "a + b": np.add, "a - b": np.subtract, "a * b": np.multiply, "a / b": np.divide,
    "2.0 - a * b": lambda a, b: 2 - a * b, "1.0 / b + a": lambda a, b: 1 / b + a, "-a": lambda a, b: -a,
    "abs(a)": lambda a, b: np.abs(a), "b ** 2": lambda a, b: b**2, "(a < b) + 0.0": lambda a, b: a < b,
    "(a >= 0.5) * b": lambda a, b: (a >= 0.5) * b, "a // b": lambda a, b: np.floor(a / b),
}  # fmt: skip


@pytest.mark.parametrize("expression", sorted(OPERATORS))
def test_operators(expression):
    source = body(f"a = nl.load(x)\nb = nl.load(y)\nnl.store(out, {expression})", "x, y")
    close(run(source, [X, POSITIVE])[0], OPERATORS[expression](X, POSITIVE), 1e-3)


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("a += b", lambda a, b: a + b), ("a -= 1.0", lambda a, b: a - 1), ("a *= b", lambda a, b: a * b),
        ("a /= b", lambda a, b: a / b), ("a[:, 0:20] += b[:, 20:40]",
                                         lambda a, b: np.hstack([a[:, :20] + b[:, 20:], a[:, 20:]])),
        ("a[...] = b", lambda a, b: b), ("a[0:32, :] = 3.0", lambda a, b: np.vstack([np.full((32, 40), 3.0), a[32:]])),
        ("a[:, 1::2] = b[:, 0::2]", lambda a, b: np.stack([a[:, 0::2], b[:, 0::2]], axis=2).reshape(64, 40)),
    ],
)  # fmt: skip
def test_assignments(statement, expected):
    source = body(f"a = nl.load(x)\nb = nl.load(y)\n{statement}\nnl.store(out, a)", "x, y")
    close(run(source, [X, POSITIVE])[0], expected(X, POSITIVE), 1e-3)


def test_a_result_can_be_used_after_it_was_assigned():
    source = body("a = nl.load(x)\nt = nl.exp(a)\na[...] = t\na[...] = 0.0\nnl.store(out, t)")
    close(run(source, [X])[0], np.exp(X))


def test_an_assignment_reads_before_it_writes():
    source = body("a = nl.load(x)\nt = nl.exp(a)\nold = nl.copy(a)\na[...] = t\nnl.store(out, old)")
    close(run(source, [X])[0], X)


def test_a_product_can_be_used_after_it_was_accumulated():
    source = body(
        "acc = nl.zeros((64, 40), nl.float32, buffer=nl.psum)\nw = nl.load(y)\nt = nl.load(x)\n"
        "p = nl.matmul(w, t, transpose_x=True)\nacc += p\nacc += nl.matmul(w, t, transpose_x=True)\n"
        "nl.store(out, nl.subtract(acc, nl.copy(p)))",
        "x, y",
    )
    w = RNG.standard_normal((64, 64)).astype(np.float32)
    close(run(source, [X, w])[0], w.T @ X, 1e-3)


REDUCE = {"sum": np.sum, "max": np.max, "min": np.min, "prod": np.prod, "mean": np.mean, "var": np.var}


@pytest.mark.parametrize("name", sorted(REDUCE))
def test_reduction_gives_one_value_for_each_partition(name):
    source = body(f"nl.store(out[:, 0:1], nl.{name}(nl.load(x), axis=1))\nnl.store(out[:, 1:40], 0.0)")
    close(run(source, [POSITIVE])[0][:, 0], REDUCE[name](POSITIVE.astype(np.float64), axis=1), 1e-3)


@pytest.mark.parametrize("keepdims", [False, True])
def test_reduction_of_some_free_axes(keepdims):
    text = (
        "t = nl.load(x).reshape((64, 4, 5, 2))\n"
        f"r = nl.max(t, axis=[1, 3], keepdims={keepdims})\n"
        f"assert r.shape == {(64, 1, 5, 1) if keepdims else (64, 5)}, r.shape\n"
        "nl.store(out[:, 0:5], r.reshape((64, 5)))\nnl.store(out[:, 5:40], 0.0)"
    )
    close(run(body(text), [X])[0][:, :5], X.reshape(64, 4, 5, 2).max(axis=(1, 3)))


def test_all():
    source = body(
        "nl.store(out[:, 0:1], nl.all(nl.greater(nl.load(x), -2.0), axis=1))\nnl.store(out[:, 1:40], 0.0)"
    )
    close(run(source, [X])[0][:, 0], (X > -2).all(axis=1))


def test_masked_reduction_leaves_elements_out():
    source = body(
        "f = nl.arange(40)[None, :]\nr = nl.sum(nl.load(x), axis=1, mask=(f < 10))\n"
        "nl.store(out[:, 0:1], r)\nnl.store(out[:, 1:40], 0.0)"
    )
    close(run(source, [X])[0][:, 0], X[:, :10].sum(axis=1))


@pytest.mark.parametrize("axis", ["1", "(1, 2)", "2"])
def test_softmax_over_free_axes(axis):
    source = body(
        f"t = nl.load(x).reshape((64, 8, 5))\nnl.store(out, nl.softmax(t, axis={axis}).reshape((64, 40)))"
    )
    t, axes = X.reshape(64, 8, 5).astype(np.float64), eval(axis)
    e = np.exp(t - t.max(axis=axes, keepdims=True))
    close(run(source, [X])[0], (e / e.sum(axis=axes, keepdims=True)).reshape(64, 40))


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ("nl.where(c, a, b)", lambda c, a, b: np.where(c, a, b)),
        ("nl.where(c, a, -9.0)", lambda c, a, b: np.where(c, a, -9)),
        ("nl.where(c, 5.0, b)", lambda c, a, b: np.where(c, 5, b)),
        ("nl.where(c[:, 0:1], a, b)", lambda c, a, b: np.where(c[:, 0:1], a, b)),
    ],
)
def test_where(choice, expected):
    source = body(f"a = nl.load(x)\nb = nl.load(y)\nc = nl.greater(a, b)\nnl.store(out, {choice})", "x, y")
    close(run(source, [X, POSITIVE])[0], expected(X > POSITIVE, X, POSITIVE))


CREATION = {
    "nl.zeros((64, 40), nl.float32)": 0, "nl.ones((64, 40), nl.float32)": 1, "nl.full((64, 40), 2.5, nl.float32)": 2.5,
    "nl.zeros_like(nl.load(x))": 0, "nisa.memset((64, 40), 7, nl.float32)": 7,
    "nl.zeros((64, 40), nl.float32, buffer=nl.psum)": 0,
}  # fmt: skip


@pytest.mark.parametrize("text", sorted(CREATION))
def test_creation(text):
    close(run(body(f"nl.store(out, {text})"), [X])[0], np.full_like(X, CREATION[text]))


def test_constants_and_identity():
    source = body(
        "c = nl.load(nl.shared_constant(np.arange(40, dtype=np.float32).reshape(1, 40)))\n"
        "i = nl.load(nl.shared_identity_matrix(64, dtype=nl.float32))\n"
        "nl.store(out, nl.add(nl.load(x), nl.add(c, i[:, 0:40])))"
    )
    close(run(source, [X])[0], X + np.arange(40) + np.eye(64, 40))


@pytest.mark.parametrize(
    "dtype", ["bfloat16", "float16", "int32", "int8", "uint8", "float8_e4m3", "float8_e5m2"]
)
def test_casts_on_load_and_copy(dtype):
    values = RNG.integers(0, 8, (64, 40)).astype(np.float32)  # exact in all of them
    source = body(
        f"t = nl.load(x, dtype=nl.{dtype})\nassert t.dtype == nl.{dtype}\nnl.store(out, t.astype(nl.float32))"
    )
    close(run(source, [values])[0], values)


def test_promotion_of_operands():
    source = body(
        "t = nl.load(x, dtype=nl.bfloat16)\nh = nl.load(x, dtype=nl.float16)\ni = nl.load(x, dtype=nl.int8)\n"
        "assert nl.add(t, h).dtype == nl.float32 and nl.add(t, 1.5).dtype == nl.float32\n"
        "assert nl.add(i, 2).dtype == nl.int32 and nl.add(i, t).dtype == nl.bfloat16\n"
        "assert nl.add(h, np.float16(2)).dtype == nl.float16 and nl.less(t, h).dtype == nl.bool_\n"
        "assert nisa.tensor_scalar(t, nl.multiply, 2.0).dtype == nl.bfloat16\nnl.store(out, nl.load(x))"
    )
    assert trace(source, [X]).ok, trace(source, [X]).diagnostics


def test_transpose_and_matmul():
    source = body("p = nl.matmul(nl.load(y), nl.load(x))\nnl.store(out, p)", "x, y")
    w = RNG.standard_normal((64, 64)).astype(np.float32)
    close(run(source, [X, w])[0], w @ X, 1e-3)
    source = body("t = nl.transpose(nl.load(x))\nassert t.shape == (40, 64)\nnl.store(out, nl.transpose(t))")
    close(run(source, [X])[0], X)


@pytest.mark.parametrize("mask", ["(nl.arange(64)[:, None] < 50)", "(nl.arange(64)[:, None] + 5 <= 54)"])
def test_matmul_under_a_partition_mask_leaves_rows_out(mask):
    source = body(f"nl.store(out, nl.matmul(nl.load(y), nl.load(x), transpose_x=True, mask={mask}))", "x, y")
    w = RNG.standard_normal((64, 64)).astype(np.float32)
    close(run(source, [X, w])[0], w[:50].T @ X[:50], 1e-3)


def test_loop_reduce_adds_over_the_loop():
    source = body(
        "t = nl.load(x)\nacc = nl.zeros((64, 40), nl.float32)\nfor i in nl.sequential_range(3):\n"
        "    acc[...] = nl.loop_reduce(nl.multiply(t, 2.0), op=np.add, loop_indices=(i,))\nnl.store(out, acc)"
    )
    close(run(source, [X])[0], X * 6)


def test_random_numbers_and_dropout_are_in_range():
    source = body(
        "nl.random_seed(5)\nr = nl.rand((64, 40))\nd = nl.dropout(nl.ones((64, 40), nl.float32), 0.5)\n"
        "nl.store(out, nl.add(nl.multiply(d, 10.0), r))"
    )
    got = run(source, [X])[0]
    kept = got >= 10
    assert 0.3 < kept.mean() < 0.7
    assert np.all((got - 10 * kept >= 0) & (got - 10 * kept < 1))


def test_index_expressions_become_tiles():
    source = body(
        "for i in nl.affine_range(4):\n    s = nl.ds(i * 10, 10)\n"
        "    nl.store(out[:, s], nl.add(nl.load(x[:, s]), i * 2 + nl.arange(10)[None, :]))"
    )
    close(run(source, [X])[0], X + np.arange(40)[None] // 10 * 2 + np.arange(40)[None] % 10)


def test_division_and_remainder_of_loop_indices():
    source = body(
        "for i in nl.affine_range(8):\n    a, b = i // 4, i % 4\n"
        "    rows, cols = nl.ds(a * 32, 32), nl.ds(b * 10, 10)\n"
        "    nl.store(out[rows, cols], nl.load(x[rows, cols]) * 2.0)"
    )
    close(run(source, [X])[0], X * 2)


def test_views():
    source = body(
        "t = nl.load(x)\nv = t.reshape((64, 4, 10))\nw = v[:, 1:3, :].reshape((64, 20))\n"
        "e = nl.expand_dims(w, 2)\nassert e.shape == (64, 20, 1)\nb = e.broadcast_to((64, 20, 2))\n"
        "nl.store(out.reshape((64, 20, 2)), nl.copy(b))"
    )
    close(run(source, [X])[0], np.repeat(X[:, 10:30], 2, axis=1))


def test_hbm_views_compose():
    source = body(
        "q = x.reshape((8, 8, 40))\no = out.reshape((8, 8, 40))\nfor i in nl.affine_range(8):\n"
        "    part = q[i]\n    half = part[:, 20:40]\n    nl.store(o[i, :, 0:20], nl.load(half[:, 0:20]))\n"
        "    nl.store(o[i][:, nl.ds(20, 20)], nl.load(part[:, 0:20]))"
    )
    close(run(source, [X])[0], np.hstack([X[:, 20:], X[:, :20]]))


def test_grid_condition_runs_each_program_by_itself():
    source = body(
        "i = nl.program_id(0)\nassert nl.num_programs(0) == 2 and nl.program_ndim() == 1\nrows = nl.ds(i * 32, 32)\n"
        "if i == 0:\n    nl.store(out[rows, :], nl.load(x[rows, :]))\n"
        "else:\n    nl.store(out[rows, :], nl.load(x[rows, :]) * -1.0)"
    )
    close(run(source, [X], grid=(2,))[0], np.vstack([X[:32], -X[32:]]))


def test_mutable_argument_is_an_output():
    source = (
        body("nl.store(out, nl.load(x))").split("@nki.jit")[0]
        + "@nki.jit\ndef nki_kernel(x: nt.mutable_tensor):\n"
        "    nl.store(x[0:32, :], 1.0)\n    return x\n"
    )
    traced = trace(source, [X])
    assert traced.ok and traced.outputs[0].name == "x", traced.diagnostics


@pytest.mark.parametrize("view", ["nl.load(x.reshape((1, 40)))", "nl.load(x)"])
def test_a_vector_is_written_from_a_row_or_a_column(view):
    source = body(f"nl.store(out, {view} * 2.0)")
    close(run(source, [X[0]])[0], X[0] * 2)
