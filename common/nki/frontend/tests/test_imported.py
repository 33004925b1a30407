"""Kernels that a script imports obey the rules that hold for kernels given as text."""

import imported_helpers
import numpy as np
import pytest
from imported_helpers import Doubler, first_tile

import neuronxcc.nki as nki
import neuronxcc.nki.language as nl
import neuronxcc.nki.typing as nt
from nki_frontend.simulate import KernelError

X = np.random.default_rng(0).standard_normal((64, 32), dtype=np.float32)
SCOPE = "err_local_variable_used_out_of_scope"


def refused(function, rule):
    """The diagnostics of a function that breaks one rule."""
    with pytest.raises(KernelError) as caught:
        kernel_of(function)(X)
    assert [d.rule for d in caught.value.diagnostics if d.severity == "error"] == [rule]
    return caught.value.diagnostics


def kernel_of(function):
    """A kernel that stores what a function makes of its argument."""

    @nki.jit
    def kernel(x):
        tile = function(x)
        out = nl.ndarray(tile.shape, dtype=tile.dtype, buffer=nl.shared_hbm)
        nl.store(out, tile)
        return out

    return kernel


def test_a_tile_of_a_python_loop_ends_with_it():
    def kernel(x):
        for i in range(2):
            tile = nl.load(x[nl.ds(i * 32, 32), :])
        return tile

    assert "line" in str(refused(kernel, SCOPE)[0].message)


def test_a_tile_of_a_branch_on_a_loop_index_ends_with_it():
    def kernel(x):
        out = nl.ndarray(x.shape, dtype=x.dtype)
        for i in nl.affine_range(2):
            if i == 0:
                tile = nl.load(x)
            else:
                tile = nl.load(x) * 2
            out[...] = nl.copy(tile)
        return out

    refused(kernel, SCOPE)


def test_helpers_of_other_modules_and_methods_of_objects_too():
    double = Doubler(2.0)
    refused(lambda x: imported_helpers.last_tile(x), SCOPE)
    refused(lambda x: double(x), SCOPE)
    np.testing.assert_array_equal(kernel_of(first_tile)(X), X[:32])


def test_an_annotation_must_tell_the_shape():
    def kernel(x):
        tile: nt.tensor[32, 32] = nl.load(x)
        return tile

    refused(kernel, "err_annotation_shape_mismatch")


def test_an_immutable_argument():
    def kernel(x):
        nl.store(x, nl.load(x))
        return nl.load(x)

    refused(kernel, "err_cannot_update_immutable_parameter")


def test_functions_are_the_same_before_and_after():
    def kernel(x, times=3):
        tile = nl.load(x)
        for i in range(times):
            if i > 0:
                tile[...] = tile * 2
        return tile

    before = kernel.__code__, imported_helpers.last_tile.__code__, set(globals())
    np.testing.assert_array_equal(kernel_of(kernel)(X), X * 4)
    assert (kernel.__code__, imported_helpers.last_tile.__code__, set(globals())) == before
    refused(lambda x: imported_helpers.last_tile(x), SCOPE)
    assert (kernel.__code__, imported_helpers.last_tile.__code__, set(globals())) == before


def test_functions_without_source_keep_the_rules_of_python():
    namespace = {"nl": nl}
    exec(  # noqa: S102
        "def kernel(x):\n    for i in range(2):\n        t = nl.load(x)\n    return t", namespace
    )
    np.testing.assert_array_equal(kernel_of(namespace["kernel"])(X), X)


def test_plain_helpers_still_run_outside_of_kernels():
    def squares(n):
        out = []
        for i in range(n):
            if i:
                out.append(i * i)
        return out

    def kernel(x):
        return nl.load(x) * float(squares(3)[1])

    np.testing.assert_array_equal(kernel_of(kernel)(X), X * 4)
    assert squares(3) == [1, 4]
