"""Whole kernels: traced, checked, executed, compared with NumPy."""

import numpy as np
import pytest
from harness import KERNELS, run

from nki_frontend.source import load

NAMES = sorted(p.stem for p in KERNELS.glob("*.py"))


@pytest.mark.parametrize("name", NAMES)
def test_kernel_computes_what_numpy_does(name):
    source = (KERNELS / f"{name}.py").read_text()
    namespace = load(source)
    arrays = namespace["inputs"](np.random.default_rng(7))
    expected = namespace["reference"](*arrays)
    expected = expected if isinstance(expected, tuple) else (expected,)
    got = run(source, arrays, namespace.get("GRID", ()))
    assert len(got) == len(expected)
    for a, b in zip(got, expected, strict=False):
        assert a.shape == b.shape
        np.testing.assert_allclose(
            np.asarray(a, np.float64), np.asarray(b, np.float64), atol=1e-3, rtol=namespace.get("RTOL", 1e-3)
        )
