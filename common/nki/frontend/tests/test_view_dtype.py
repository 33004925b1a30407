"""tensor.view(dtype) against NumPy's view."""

import ml_dtypes
import numpy as np
import pytest
from harness import HEAD, body, rules, run, trace

RNG = np.random.default_rng(2)
BITS = RNG.integers(0, 256, (32, 48), dtype=np.uint8)
TYPES = {
    "nl.uint8": np.uint8, "nl.int8": np.int8, "nl.float8_e4m3": ml_dtypes.float8_e4m3, "nl.uint16": np.uint16,
    "nl.int16": np.int16, "nl.bfloat16": ml_dtypes.bfloat16, "nl.float16": np.float16, "nl.uint32": np.uint32,
    "nl.int32": np.int32, "nl.float32": np.float32,
}  # fmt: skip


def kernel(expression: str, dtype: str, shape: tuple) -> str:
    return HEAD + (
        f"@nki.jit\ndef nki_kernel(x):\n    out = nl.ndarray({shape}, dtype={dtype}, buffer=nl.shared_hbm)\n"
        f"    t = nl.load(x)\n    nl.store(out, {expression})\n    return out\n"
    )


@pytest.mark.parametrize("new", TYPES)
@pytest.mark.parametrize("old", ["nl.uint8", "nl.int16", "nl.bfloat16", "nl.int32", "nl.float32"])
def test_a_tile_has_the_bits_of_numpys_view(old, new):
    # Finite numbers: a NaN's bits may change where it is rounded.
    x = (BITS & 0x3F).view(TYPES[old])
    expected = x.view(TYPES[new])
    got = run(kernel(f"t.view({new})", new, expected.shape), [x])[0]
    np.testing.assert_array_equal(got.view(np.uint8), expected.view(np.uint8))


def test_views_are_indexed_and_reshaped():
    x = RNG.standard_normal((32, 12)).astype(np.float32)
    source = kernel("t.reshape((32, 3, 4)).view(nl.uint8)[:, 1:3, :4]", "nl.uint8", (32, 2, 4))
    np.testing.assert_array_equal(run(source, [x])[0], x.reshape(32, 3, 4).view(np.uint8)[:, 1:3, :4])
    source = kernel("t[0:8, 2:4].view(nl.int32).reshape((8, 2, 1))", "nl.int32", (8, 2, 1))
    np.testing.assert_array_equal(run(source, [x])[0], x[:8, 2:4].view(np.int32)[..., None])


def test_a_view_of_the_same_size_writes_through():
    x = RNG.standard_normal((32, 12)).astype(np.float32)
    source = kernel("t", "nl.float32", (32, 12)).replace(
        "    nl.store", "    b = t.view(nl.int32)\n    b[...] = b & 0x7FFFFFFF\n    nl.store"
    )
    np.testing.assert_array_equal(run(source, [x])[0], np.abs(x))


def test_hbm_tensors():
    x = RNG.standard_normal((32, 12)).astype(np.float32)
    source = kernel("nl.load(x.view(nl.int32))", "nl.int32", (32, 12))
    np.testing.assert_array_equal(run(source, [x])[0], x.view(np.int32))


@pytest.mark.parametrize(
    "text",
    [
        "t = nl.load(x)\nt.view(nl.uint8)[...] = 0\nnl.store(out, t)",
        "t = nl.load(x.view(nl.uint8))\nnl.store(out, 0.0)",
        "t = nl.load(x[:, 0:1]).view(nl.bool_)\nnl.store(out, t)",
        "t = nl.zeros((32, 3), dtype=nl.uint8).view(nl.float32)\nnl.store(out, 0.0)",
    ],
)
def test_what_can_not_be_viewed_is_refused(text):
    assert rules(trace(body(text), [np.zeros((32, 12), np.float32)])) == ["err_view_dtype_not_supported"]


def test_blocks_of_tiles():
    source = body(
        """
        t = nl.ndarray((2, nl.par_dim(16), 12), dtype=nl.float32)
        for i in nl.affine_range(2):
            t[i] = nl.load(x[nl.ds(i * 16, 16), :])
        for i in nl.affine_range(2):
            low, high = t.view(nl.uint16)[i, :, 0:24:2], t.view(nl.uint16)[i, :, 1:24:2]
            nl.store(out[nl.ds(i * 16, 16), :], nl.copy(low, dtype=nl.float32) + nl.copy(high, dtype=nl.float32))
        """
    )
    x = RNG.standard_normal((32, 12)).astype(np.float32)
    halves = x.view(np.uint16).astype(np.float32)
    np.testing.assert_array_equal(run(source, [x])[0], halves[:, ::2] + halves[:, 1::2])
