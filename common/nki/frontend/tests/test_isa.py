"""Calls of nki.isa against NumPy, each through trace, check and execution."""

import numpy as np
import pytest
from harness import HEAD, body, rules, run, trace

RNG = np.random.default_rng(11)
X = RNG.standard_normal((64, 40)).astype(np.float32)
Y = RNG.standard_normal((64, 40)).astype(np.float32)
COLUMN = RNG.standard_normal((64, 1)).astype(np.float32)


def close(a, b, tolerance=2e-4):
    np.testing.assert_allclose(
        np.asarray(a, np.float64), np.asarray(b, np.float64), rtol=tolerance, atol=tolerance
    )


def evaluate(text, expected, arrays=(X, Y, COLUMN), tolerance=2e-4):
    """Runs lines over tiles a = x, b = y, c = z (a column) that leave their result in r."""
    lines = "a = nl.load(x)\nb = nl.load(y)\nc = nl.load(z)\n" + text + "\nnl.store(out, r)"
    close(run(body(lines, "x, y, z"), list(arrays))[0], expected, tolerance)


CASES = {
    "activation_scale_and_bias": (
        "r = nisa.activation(nl.tanh, a, bias=c, scale=0.5)",
        np.tanh(X * 0.5 + COLUMN),
    ),
    "activation_scale_tile": ("r = nisa.activation(np.exp, a, scale=c)", np.exp(X * COLUMN)),
    "tensor_tensor": ("r = nisa.tensor_tensor(a, b, op=np.multiply)", X * Y),
    "tensor_tensor_gpsimd": ("r = nisa.tensor_tensor(a, b, nl.add, engine=nisa.gpsimd_engine)", X + Y),
    "tensor_scalar": (
        "r = nisa.tensor_scalar(a, np.subtract, c, op1=np.multiply, operand1=2.0)",
        (X - COLUMN) * 2,
    ),
    "tensor_scalar_reversed": (
        "r = nisa.tensor_scalar(a, np.subtract, 1.0, reverse0=True, op1=np.subtract, operand1=c, reverse1=True)",
        COLUMN - (1 - X),
    ),
    "scalar_tensor_tensor": (
        "r = nisa.scalar_tensor_tensor(data=a, op0=np.add, operand0=c, op1=np.multiply, operand1=b)",
        (X + COLUMN) * Y,
    ),
    "tensor_copy_engines": (
        "r = nisa.tensor_copy(nisa.tensor_copy(a, engine=nisa.scalar_engine), engine=nisa.gpsimd_engine)",
        X,
    ),
    "reciprocal": ("r = nisa.reciprocal(nl.add(nl.abs(a), 1.0))", 1 / (np.abs(X) + 1)),
    "affine_select": (
        "p = nl.arange(64)[:, None]\nf = nl.arange(40)[None, :]\n"
        "r = nisa.affine_select(pred=(p + 2 > f), on_true_tile=a, on_false_value=-5.0)",
        np.where(np.arange(64)[:, None] + 2 > np.arange(40)[None], X, -5),
    ),
    "iota": (
        "p = nl.arange(64)[:, None]\nf = nl.arange(40)[None, :]\nr = nisa.iota(100 * p + 3 * f - 7, dtype=nl.float32)",
        100 * np.arange(64)[:, None] + 3 * np.arange(40)[None] - 7,
    ),
    "tensor_copy_predicated": (
        "r = nl.copy(b)\nnisa.tensor_copy_predicated(src=a, dst=r, predicate=nl.greater(a, 0.0, dtype=nl.uint8))",
        np.where(X > 0, X, Y),
    ),
    "tensor_copy_predicated_reversed": (
        "r = nl.copy(b)\nm = nl.greater(a, 0.0, dtype=nl.uint8)\n"
        "nisa.tensor_copy_predicated(src=9.0, dst=r, predicate=m, reverse_pred=True)",
        np.where(X > 0, Y, 9),
    ),
    "partition_reduce": (
        "r = nl.broadcast_to(nisa.tensor_partition_reduce(np.add, a), shape=(64, 40))",
        np.broadcast_to(X.sum(axis=0), (64, 40)),
    ),
    "nc_transpose": ("r = nisa.nc_transpose(nisa.nc_transpose(a))", X),
    "nc_transpose_vector": (
        "r = nl.copy(a)\nr[0:32, 0:32] = nisa.nc_transpose(a[0:32, 0:32], engine=nisa.vector_engine)",
        np.vstack([np.hstack([X[:32, :32].T, X[:32, 32:]]), X[32:]]),
    ),
    "bn_stats_and_aggr": (
        "m = nisa.bn_aggr(nisa.bn_stats(a, dtype=nl.float32))\nr = nisa.tensor_scalar(a, np.subtract, m[:, 0:1])",
        X - X.mean(axis=1, keepdims=True),
    ),
    "max8_and_match_replace8": (
        "t = nisa.max8(src=a)\nr = nl.copy(a)\nnisa.nc_match_replace8(data=r, vals=t, imm=-99.0)",
        np.where(X >= np.sort(X, axis=1)[:, [-8]], -99, X),
    ),
    "stream_shuffle": (
        "r = nl.copy(b)\nnisa.nc_stream_shuffle(src=a, dst=r, shuffle_mask=list(range(31, 0, -1)) + [255])",
        np.concatenate([np.concatenate([X[31:0:-1], Y[31:32]]), np.concatenate([X[63:32:-1], Y[63:64]])]),
    ),
    "dma_copy_and_accumulate": (
        "r = nl.ndarray((64, 40), nl.float32)\nh = nl.ndarray((64, 40), nl.float32, buffer=nl.private_hbm)\n"
        "nisa.dma_copy(dst=h, src=a)\nnisa.dma_copy(dst=h, src=b, dst_rmw_op=np.add)\nnisa.dma_copy(dst=r, src=h)",
        X + Y,
    ),
    "dropout_of_nothing": ("r = nisa.dropout(a, 0.0)", X),
    "dropout_of_everything": ("r = nisa.dropout(a, 1.0)", np.zeros_like(X)),
    "onezero_and_transpose_hints": (
        "i = nl.load(nl.shared_identity_matrix(64, dtype=nl.float32))\n"
        "r = nisa.nc_matmul(i, a, is_stationary_onezero=True)",
        X,
    ),
    "get_nc_version": (
        "assert nisa.get_nc_version() == nisa.nc_version.gen2 < nisa.nc_version.gen3\nr = nl.copy(a)",
        X,
    ),
}


@pytest.mark.parametrize("name", sorted(CASES))
def test_call(name):
    text, expected = CASES[name]
    evaluate(text, expected)


def test_activation_registers_add_up_over_calls():
    text = (
        "s = nl.ndarray((64, 1), nl.float32)\n"
        "nisa.activation(nl.copy, a, reduce_op=np.add, reduce_cmd=nisa.reduce_cmd.reset_reduce)\n"
        "nisa.activation(nl.copy, b, reduce_op=np.add, reduce_res=s, reduce_cmd=nisa.reduce_cmd.reduce)\n"
        "r = s.broadcast_to((64, 40))"
    )
    evaluate(text, np.broadcast_to((X.sum(axis=1) + Y.sum(axis=1))[:, None], (64, 40)), tolerance=1e-3)


def test_activation_reduce():
    text = (
        "s = nl.ndarray((64, 2), nl.float32)\n"
        "e = nisa.activation_reduce(np.exp, a, reduce_op=np.add, reduce_res=s[:, 1], bias=c)\n"
        "r = nl.divide(e, s[:, 1])"
    )
    e = np.exp(X + COLUMN)
    evaluate(text, e / e.sum(axis=1, keepdims=True))


def test_tensor_scalar_reduce():
    text = (
        "s = nl.ndarray((64, 1), nl.float32)\n"
        "t = nisa.tensor_scalar_reduce(data=a, op0=np.multiply, operand0=2.0, reduce_op=np.max, reduce_res=s)\n"
        "r = nl.subtract(t, s)"
    )
    evaluate(text, 2 * X - 2 * X.max(axis=1, keepdims=True))


@pytest.mark.parametrize("op", ["add", "multiply", "maximum", "minimum"])
@pytest.mark.parametrize("negate", [False, True])
def test_tensor_reduce(op, negate):
    text = f"r = nisa.tensor_reduce(nl.{op}, a, axis=(1,), negate={negate}).broadcast_to((64, 40))"
    expected = getattr(np, op).reduce(X, axis=1, keepdims=True) * (-1 if negate else 1)
    evaluate(text, np.broadcast_to(expected, (64, 40)), tolerance=1e-3)


@pytest.mark.parametrize("initial", ["0", "c", "1.5"])
def test_scan(initial):
    text = f"r = nisa.tensor_tensor_scan(nl.sigmoid(a), b, initial={initial}, op0=np.multiply, op1=np.add)"
    gate = 1 / (1 + np.exp(-X))
    state = {"0": 0.0, "c": COLUMN[:, 0], "1.5": 1.5}[initial] * np.ones(64)
    expected = np.empty_like(X)
    for i in range(X.shape[1]):
        state = gate[:, i] * state + Y[:, i]
        expected[:, i] = state
    evaluate(text, expected, tolerance=1e-3)


def test_range_select():
    text = (
        "lo = nl.full((64, 1), 4.0, nl.float32)\nhi = nl.full((64, 1), 20.0, nl.float32)\n"
        "s = nl.ndarray((64, 1), nl.float32)\n"
        "t = nisa.range_select(on_true_tile=a, comp_op0=nl.greater_equal, comp_op1=nl.less, bound0=lo, bound1=hi,\n"
        "                      range_start=2, reduce_res=s, reduce_cmd=nisa.reduce_cmd.reset_reduce)\n"
        "r = nl.maximum(t, -1000.0)"
    )
    index = np.arange(40) + 2
    evaluate(text, np.where((index >= 4) & (index < 20), X, -1000))


def test_dynamic_copies():
    text = (
        "k = nl.full((1, 1), 7, nl.int32)\np = nl.arange(64)[:, None]\nr = nl.copy(a)\n"
        "t = nisa.tensor_copy_dynamic_src(b[p, k])\nnisa.tensor_copy_dynamic_dst(dst=r[p, k], src=t)"
    )
    expected = X.copy()
    expected[:, 7] = Y[:, 7]
    evaluate(text, expected)


@pytest.mark.parametrize("sum_of", ["i[0, k] + f", "f + i[0, k]", "i[0, k] + (f - 2) + 1 + 1"])
def test_a_run_time_number_moves_an_index(sum_of):
    index = RNG.integers(0, 36, (1, 10)).astype(np.int32)
    source = HEAD + (
        "@nki.jit\ndef nki_kernel(x, y):\n"
        "    out = nl.ndarray((64, 10, 4), nl.float32, buffer=nl.shared_hbm)\n"
        "    t, i = nl.load(x), nl.load(y)\n"
        "    r = nl.ndarray((64, 10, 4), nl.float32)\n"
        "    p, f = nl.mgrid[0:64, 0:4]\n"
        "    for k in nl.affine_range(10):\n"
        f"        r[p, k, f] = nisa.tensor_copy_dynamic_src(t[p, {sum_of}])\n"
        "    nl.store(out, r)\n    return out\n"
    )
    expected = np.stack([X[:, k : k + 4] for k in index[0]], axis=1)
    close(run(source, [X, index])[0], expected)


def test_a_run_time_number_selects_on_a_middle_axis():
    data = RNG.standard_normal((64, 12, 4)).astype(np.float32)
    source = HEAD + (
        "@nki.jit\ndef nki_kernel(x, y):\n"
        "    out = nl.ndarray((64, 3, 4), nl.float32, buffer=nl.shared_hbm)\n"
        "    t, i = nl.load(x), nl.load(y)\n"
        "    r = nl.ndarray((64, 3, 4), nl.float32)\n"
        "    p, _, f = nl.mgrid[0:64, 0:1, 0:4]\n"
        "    for k in nl.affine_range(3):\n"
        "        r[p, k, f] = nisa.tensor_copy_dynamic_src(t[p, i[0, k], f])\n"
        "    nl.store(out, r)\n    return out\n"
    )
    index = np.array([[11, 0, 5]], np.int32)
    close(run(source, [data, index])[0], data[:, index[0]])


def test_dma_copy_takes_a_run_time_index_beside_a_grid():
    rows = RNG.permutation(64).astype(np.int32).reshape(64, 1)
    lines = "p, f = nl.mgrid[0:64, 0:40]\nt = nl.ndarray((64, 40), nl.float32)\ni = nl.load(y)\n"
    copy = lines + "nisa.dma_copy(dst=t[p, f], src=x[i, f])\nnl.store(out, t)"
    close(run(body(copy, "x, y"), [X, rows])[0], X[rows[:, 0]])
    load = lines + "nl.store(out, nl.load(x[i, f]))"
    assert rules(trace(body(load, "x, y"), [X, rows])) == ["err_indirect_indices_free_dim"]


def test_a_gathered_row_is_stored_under_any_free_axes():
    index = np.tile(RNG.integers(0, 38, (16, 2)).astype(np.uint16), (8, 1))
    data = RNG.standard_normal((128, 40)).astype(np.float32)
    source = HEAD + (
        "@nki.jit\ndef nki_kernel(x, i):\n"
        "    out = nl.ndarray((128, 2, 16, 2), nl.float32, buffer=nl.shared_hbm)\n"
        "    nl.store(out, nisa.local_gather(nl.load(x), nl.load(i), 2, 32))\n    return out\n"
    )
    flat = index[:16].flatten(order="F")
    expected = np.stack([data[:, k : k + 2] for k in flat], axis=1).reshape(128, 2, 16, 2)
    close(run(source, [data, index])[0], expected)


def test_local_gather():
    count, each = 32, 2
    index = RNG.integers(0, 19, (8, count)).astype(np.uint16) * each
    data = RNG.standard_normal((128, 40)).astype(np.float32)
    # A core reads its 16 partitions of indices partition-first.
    packed = index.reshape(8, count // 16, 16).transpose(0, 2, 1).reshape(128, count // 16)
    source = HEAD + (
        "@nki.jit\ndef nki_kernel(x, i):\n"
        f"    out = nl.ndarray((128, {count}, {each}), nl.float32, buffer=nl.shared_hbm)\n"
        f"    nl.store(out, nisa.local_gather(nl.load(x), nl.load(i), {each}, {count}))\n    return out\n"
    )
    expected = np.stack([[data[p, k : k + each] for k in index[p // 16]] for p in range(128)])
    close(run(source, [data, packed])[0], expected)


@pytest.mark.parametrize("skip", [False, True])
def test_dma_scatter_rows(skip):
    rows = RNG.permutation(64).astype(np.int32).reshape(64, 1)
    source = body(
        "i = nl.load(y)\nt = nl.load(x)\nf = nl.arange(40)[None, :]\nnl.store(out, 0.0)\n"
        f"nisa.dma_copy(dst=out[i, f], src=t, oob_mode=nisa.oob_mode.{'skip' if skip else 'error'})",
        "x, y",
    )
    if skip:
        rows[5] = 9999
    expected = np.zeros_like(X)
    for p, r in enumerate(rows[:, 0]):
        if r < 64:
            expected[r] = X[p]
    close(run(source, [X, rows])[0], expected)


def test_atomic_add_through_indices():
    rows = RNG.permutation(64).astype(np.int32).reshape(64, 1)
    source = body(
        "i = nl.load(y)\nf = nl.arange(40)[None, :]\nnl.store(out, 1.0)\n"
        "nl.atomic_rmw(out[i, f], nl.load(x), op=np.add)",
        "x, y",
    )
    expected = np.ones_like(X)
    expected[rows[:, 0]] += X
    close(run(source, [X, rows])[0], expected)


REFUSED = {
    "err_builtin_custom_op_not_supported": "nisa.builtin_custom_op('f', 'lib.so', [], [], [a], [a])",
    "err_unsupported_op": "nisa.tensor_tensor(a, b, op=np.divide)",
    "err_unsupported_activation_function": "nisa.activation(nl.cos, a)",
    "err_unsupported_engine": "nisa.tensor_copy(a, engine=nisa.tensor_engine)",
    "err_mixed_bitvec_and_arithmetic_ops": "nisa.tensor_scalar(a, np.add, 1.0, op1=np.bitwise_and, operand1=1)",
    "err_unsupported_reduce_op": "nisa.tensor_partition_reduce(np.multiply, a)",
    "err_stream_shuffle_mask": "nisa.nc_stream_shuffle(src=a, dst=a, shuffle_mask=[0, 1])",
    "err_pe_tiling": "nisa.nc_matmul(a, b, tile_position=(0, 0), tile_size=(32, 32))",
    "err_predicate_dtype": "nisa.tensor_copy_predicated(src=a, dst=b, predicate=a)",
    "err_shape_mismatch": "nisa.tensor_tensor(a, b[:, 0:20], op=np.add)",
    "err_operand_scalar_or_vector": "nisa.tensor_scalar(a, np.add, b)",
}


@pytest.mark.parametrize("rule", sorted(REFUSED))
def test_refused_call(rule):
    source = body(f"a = nl.load(x)\nb = nl.load(x)\n{REFUSED[rule]}\nnl.store(out, a)")
    assert rules(trace(source, [X])) == [rule]
