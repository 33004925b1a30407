"""A short run of the tracer's fuzzer, and that it notices what it looks for."""

import numpy as np
import pytest
from fuzz_tracer import Seed, corpus, run_one
from harness import body
from mutations import Mutator

from nki_frontend import tracer
from nki_frontend.tracer import TensorSpec

SEED = Seed(body("nl.store(out, nl.load(x))"), [TensorSpec("x", (128, 64), np.float32)], ())


@pytest.mark.parametrize("seed", [11, 12])
def test_mutants_end_in_programs_or_diagnostics(seed):
    seeds = corpus()
    mutator = Mutator([s.source for s in seeds], seed)
    outcomes = set()
    for _ in range(60):
        origin, source = mutator.mutant()
        answer = run_one(source, seeds[origin])
        assert "finding" not in answer, f"{answer['finding']}\n{source}"
        outcomes.add(answer["rule"])
    assert "program" in outcomes
    assert len(outcomes) > 10


def test_equal_seeds_make_equal_mutants():
    a, b = Mutator([SEED.source], 5), Mutator([SEED.source], 5)
    assert [a.mutant() for _ in range(20)] == [b.mutant() for _ in range(20)]


def test_a_crash_and_an_exception_are_findings(monkeypatch):
    assert run_one(SEED.source, SEED) == {"rule": "program"}
    crash = body("import ctypes\nctypes.string_at(0)")
    assert "signal 11" in run_one(crash, SEED)["finding"]

    def broken(*_):
        raise SystemError("lost")

    monkeypatch.setattr(tracer, "_finish", broken)
    assert "SystemError: lost" in run_one(SEED.source, SEED)["finding"]
