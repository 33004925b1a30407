"""Each way to index that the SDK documents, against NumPy."""

import numpy as np
import pytest
from harness import HEAD, body, rules, run, trace

RNG = np.random.default_rng(9)
X = RNG.standard_normal((64, 40)).astype(np.float32)


def kernel(text: str, shape: str = "x.shape", parameters: str = "x") -> str:
    """A kernel whose output has any shape."""
    return body(text, parameters).replace("nl.ndarray(x.shape,", f"nl.ndarray({shape},", 1)


# Expression under nl.load -> the same of NumPy.
LOADS = {
    "x": lambda x: x,
    "x[...]": lambda x: x,
    "x[3:19, ::2]": lambda x: x[3:19, ::2],
    "x[5:6, -8:]": lambda x: x[5:6, -8:],
    "x[nl.ds(7, 9), nl.ds(1, 3)]": lambda x: x[7:16, 1:4],
    "x[..., 0:4]": lambda x: x[..., 0:4],
    "x[0:8, None, 0:4][:, 0, :]": lambda x: x[0:8, 0:4],
    "x[p, f]": lambda x: x[:16, :10],
    "x[p * 3 + 2, f * 4]": lambda x: x[2:50:3, 0:40:4],
    "x[63 - p, 39 - f]": lambda x: x[63:47:-1, 39:29:-1],
    "x[(p + 1) * 2 - 1, f + f]": lambda x: x[1:33:2, 0:20:2],
    "x[p, 2 * f + 1]": lambda x: x[:16, 1:21:2],
    "x[g.p, g.x]": lambda x: x[4:20, 0:20:2],
    "x[g[0] + 1, g[1]]": lambda x: x[5:21, 0:20:2],
    "x[2:18][0:4]": lambda x: x[2:6],
    "x.reshape((16, 4, 40))[:, 1, :]": lambda x: x.reshape(16, 4, 40)[:, 1, :],
    "x.reshape((128, 20))": lambda x: x.reshape(128, 20),
    "x.reshape((64, 5, 8))[0:8, 2:4, 1:8:3]": lambda x: x.reshape(64, 5, 8)[0:8, 2:4, 1:8:3],
}


@pytest.mark.parametrize("text", LOADS)
def test_static_indices_of_hbm(text):
    expected = LOADS[text](X)
    source = kernel(
        "p, f, g = nl.arange(16)[:, None], nl.arange(10)[None, :], nl.mgrid[4:20, 0:20:2]\n"
        f"nl.store(out, nl.load({text}))",
        str(expected.shape),
    )
    np.testing.assert_array_equal(run(source, [X])[0], expected)


# Partitions of a tile start at multiples of 32 and have stride 1.
TILES = ["x", "x[...]", "x[..., 0:4]", "x[p, f]", "x[p, 2 * f + 1]", "x.reshape((64, 5, 8))[0:8, 2:4, 1:8:3]"]


@pytest.mark.parametrize("text", TILES)
def test_the_same_indices_of_a_tile(text):
    expected = LOADS[text](X)
    source = kernel(
        "p, f = nl.arange(16)[:, None], nl.arange(10)[None, :]\n"
        f"x = nl.load(x)\nnl.store(out, nl.copy({text}))",
        str(expected.shape),
    )
    np.testing.assert_array_equal(run(source, [X])[0], expected)


def test_affine_arithmetic_with_loop_indices():
    source = kernel(
        """
        p, f = nl.arange(16)[:, None], nl.arange(5)[None, :]
        for i in nl.affine_range(2):
            for j in nl.sequential_range(0, 8, 2):
                rows = i * 32 + (j // 2) * 8
                even = nl.load(x[rows // 8 + p * 2, j * 5 + f])
                nl.store(out[i, j // 2, p, f], even)
        """,
        "(2, 4, 16, 5)",
    )
    expected = np.stack(
        [np.stack([X[i * 4 + j // 2 + np.arange(16)[:, None] * 2, j * 5 + np.arange(5)] for j in (0, 2, 4, 6)])
         for i in range(2)]
    )  # fmt: skip
    np.testing.assert_array_equal(run(source, [X])[0], expected)


MASKS = {
    "p < 10": lambda i, p, f: p < 10,
    "i * 16 + p < 41": lambda i, p, f: i * 16 + p < 41,
    "(i * 16 + p >= 3) & (f < 33)": lambda i, p, f: (i * 16 + p >= 3) & (f < 33),
    "f <= i * 16 + p": lambda i, p, f: f <= i * 16 + p,
    "f == 5 + i": lambda i, p, f: f == 5 + i,
    "2 * f - p > i": lambda i, p, f: 2 * f - p > i,
    "i < 2": lambda i, p, f: (i < 2) & (p > -1) & (f > -1),
}


@pytest.mark.parametrize("where", ["load", "compute", "store"])
@pytest.mark.parametrize("mask", MASKS)
def test_masks_from_loop_variables(mask, where):
    m = {w: f", mask=({mask})" if w == where else "" for w in ("load", "compute", "store")}
    source = body(
        f"""
        p, f = nl.arange(16)[:, None], nl.arange(40)[None, :]
        for i in nl.affine_range(4):
            nl.store(out[i * 16 + p, f], 7.0)
        for i in nl.sequential_range(4):
            t = nl.full((16, 40), 7.0, dtype=nl.float32)
            s = nl.full((16, 40), 7.0, dtype=nl.float32)
            t[p, f] = nl.load(x[i * 16 + p, f]{m["load"]})
            s[p, f] = nisa.tensor_scalar(t, np.multiply, 1.0{m["compute"]})
            nl.store(out[i * 16 + p, f], s{m["store"]})
        """
    )
    i, row = np.divmod(np.arange(64)[:, None], 16)
    keep = np.broadcast_to(MASKS[mask](i, row, np.arange(40)[None, :]), X.shape)
    np.testing.assert_array_equal(run(source, [X])[0], np.where(keep, X, 7))


def test_basic_and_advanced_may_mix_where_one_is_an_integer():
    x = RNG.standard_normal((3, 64, 40)).astype(np.float32)
    source = kernel(
        "p, f = nl.arange(16)[:, None], nl.arange(10)[None, :]\nnl.store(out, nl.load(x[2, p, f + 3]))",
        "(16, 10)",
    )
    np.testing.assert_array_equal(run(source, [x])[0], x[2, :16, 3:13])
    source = source.replace("x[2, p, f + 3]", "x[0:1, p, f + 3]")
    assert rules(trace(source, [x])) == ["err_unsupported_mixing_basic_advanced_tensor_indexing"]


@pytest.mark.parametrize("dtype", [np.int32, np.uint32])
def test_indirect_rows_of_load_and_store(dtype):
    index = RNG.permutation(64)[:16].astype(dtype)[:, None]
    source = kernel(
        """
        f = nl.arange(40)[None, :]
        rows = nl.load(k)
        tile = nl.load(x[rows, f])
        zero = nl.zeros((64, 40), dtype=x.dtype)
        nl.store(out, zero)
        nl.store(out[rows, f], tile * 2.0)
        """,
        "x.shape",
        "x, k",
    )
    expected = np.zeros_like(X)
    expected[index[:, 0]] = X[index[:, 0]] * 2
    np.testing.assert_array_equal(run(source, [X, index])[0], expected)


def test_indirect_blocks_in_a_loop():
    x = RNG.standard_normal((6, 16, 40)).astype(np.float32)
    index = np.array([[4, 0, 2, 2]], np.int32)
    source = kernel(
        """
        p, f = nl.arange(16)[:, None], nl.arange(40)[None, :]
        table = nl.load(k)
        for i in nl.affine_range(4):
            nl.store(out[i], nl.load(x[table[0, i], p, f]))
        """,
        "(4, 16, 40)",
        "x, k",
    )
    np.testing.assert_array_equal(run(source, [x, index])[0], x[index[0]])


def test_atomic_rmw_adds():
    index = RNG.permutation(64)[:32].astype(np.int32)[:, None]
    source = HEAD + (
        """
@nki.jit
def nki_kernel(x: nt.mutable_tensor, k, v):
    f = nl.arange(40)[None, :]
    rows = nl.load(k)
    nl.atomic_rmw(x[rows, f], nl.load(v), op=np.add)
    return x
"""
    )
    v = RNG.standard_normal((32, 40)).astype(np.float32)
    traced = trace(source, [X, index, v])
    assert traced.ok, traced.diagnostics
    assert traced.in_place == [0]


def test_block_dimensions_before_and_behind_the_partitions():
    source = body(
        """
        a = nl.ndarray((4, nl.par_dim(16), 40), dtype=nl.float32)
        b = nl.ndarray((nl.par_dim(16), 4, 40), dtype=nl.float32)
        for i in nl.affine_range(4):
            a[i] = nl.load(x[nl.ds(i * 16, 16), :])
            b[:, i, :] = a[i] * 2.0
        for i in nl.affine_range(4):
            nl.store(out[nl.ds(i * 16, 16), :], b[:, i] - a[i])
        """
    )
    np.testing.assert_allclose(run(source, [X])[0], X, rtol=1e-6)


def test_views_of_tiles():
    source = kernel(
        """
        t = nl.load(x)
        cube = t.reshape((64, 5, 8))
        column = nl.sum(cube, axis=2).expand_dims(2)
        spread = column.broadcast_to((64, 5, 8))
        row = nl.load(x[0:1, :]).broadcast_to((64, 40)).reshape((64, 5, 8))
        nl.store(out, cube / spread + row)
        """,
        "(64, 5, 8)",
    )
    cube = X.reshape(64, 5, 8)
    expected = cube / cube.sum(2, keepdims=True) + X[0].reshape(5, 8)
    np.testing.assert_allclose(run(source, [X])[0], expected, rtol=2e-3, atol=1e-4)


def test_accumulation_starts_lazily_and_loop_reduce_folds():
    a = RNG.standard_normal((256, 64)).astype(np.float32)
    source = kernel(
        """
        total = nl.ndarray((64, 64), dtype=nl.float32, buffer=nl.psum)
        peak = nl.full((64, 64), -1e30, dtype=nl.float32)
        for i in nl.affine_range(4):
            t = nl.load(x[nl.ds(i * 64, 64), :])
            total += nisa.nc_matmul(t, t)
            peak[...] = nl.loop_reduce(t, op=np.maximum, loop_indices=[i])
        nl.store(out, total + peak)
        """,
        "(64, 64)",
    )
    np.testing.assert_allclose(
        run(source, [a])[0], a.T @ a + a.reshape(4, 64, 64).max(0), rtol=1e-3, atol=1e-3
    )


def test_constants_closures_and_nested_helpers_with_several_results():
    source = HEAD + (
        """
SCALE = 3.0


def outer(factor):
    def inner(t):
        low, high = halves(t)
        return low * factor, high * SCALE

    return inner


def halves(t):
    n = t.shape[1] // 2
    return t[:, 0:n], t[:, n : 2 * n]


@nki.jit
def nki_kernel(x):
    a = nl.ndarray((64, 20), dtype=x.dtype, buffer=nl.shared_hbm)
    b = nl.ndarray((64, 20), dtype=x.dtype, buffer=nl.shared_hbm)
    steps = nl.load(nl.shared_constant(np.arange(20, dtype=np.float32)[None, :]))
    low, high = outer(2.0)(nl.load(x))
    nl.store(a, low)
    nl.store(b, nl.add(high, steps.broadcast_to((64, 20))))
    return a, b
"""
    )
    a, b = run(source, [X])
    np.testing.assert_allclose(a, X[:, :20] * 2)
    np.testing.assert_allclose(b, X[:, 20:] * 3 + np.arange(20), rtol=1e-5, atol=1e-5)


def test_manual_allocation_and_engine_hints_change_no_result():
    source = body(
        """
        t = nl.ndarray((64, 40), nl.float32, buffer=ncc.sbuf.alloc(lambda idx, pdim, fdim: (0, 1024)))
        t[...] = nl.load(x)
        b = nl.ndarray((64, 1), nl.float32, buffer=ncc.sbuf.mod_alloc(base_addr=0))
        b[...] = 0
        u = nl.ndarray((64, 40), nl.float32, buffer=ncc.sbuf.mod_alloc(base_addr=4096))
        u[...] = nisa.activation(np.square, t, bias=b)
        v = nl.ndarray((64, 40), nl.float32, buffer=ncc.sbuf.mod_alloc(base_addr=8192))
        v[...] = nisa.tensor_tensor(u, t, np.add, engine=nisa.vector_engine)
        v[...] = nisa.tensor_scalar(v, np.multiply, 2.0, engine=nisa.gpsimd_engine)
        nl.store(out, v)
        """
    )
    np.testing.assert_allclose(run(source, [X])[0], (X * X + X) * 2, rtol=1e-5)


@pytest.mark.parametrize("grid", [(4,), (2, 2), (2, 1, 2)])
def test_launch_grids_of_any_rank(grid):
    ids = ", ".join(f"nl.program_id({a})" for a in range(len(grid)))
    source = body(
        f"""
        place = 0
        for n, i in zip({grid}, [{ids}]):
            place = place * n + i
        assert nl.num_programs() == 4 and nl.program_ndim() == {len(grid)}
        rows = nl.ds(place * 16, 16)
        nl.store(out[rows, :], nl.load(x[rows, :]) * (place + 1))
        """
    )
    np.testing.assert_allclose(
        run(source, [X], grid=grid)[0], X * (np.arange(64)[:, None] // 16 + 1), rtol=1e-6
    )
