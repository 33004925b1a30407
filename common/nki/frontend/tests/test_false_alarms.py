"""Correct kernels raise no warning of a hazard: every kernel of these tests and of the benchmark."""

import numpy as np
import pytest
from harness import KERNELS, trace

from nki_frontend.simulate import check
from nki_frontend.source import load

# Advice on form, not hazards.
ADVICE = {"err_leading_dimension_of_tensor_must_be_partition", "warn_shadowing_local_tensor"}


@pytest.mark.parametrize("name", sorted(p.stem for p in KERNELS.glob("*.py")))
def test_a_correct_kernel_raises_no_alarm(name):
    source = (KERNELS / f"{name}.py").read_text()
    namespace = load(source)
    traced = trace(source, namespace["inputs"](np.random.default_rng(7)), namespace.get("GRID", ()))
    assert traced.ok, traced.diagnostics
    assert [d for d in check(traced.program) if d.rule not in ADVICE] == []
