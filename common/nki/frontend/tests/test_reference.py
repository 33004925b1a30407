"""The printed reference: every name has an entry, every example compiles, entries say what the tables say."""

import pytest

from nki_frontend import reference
from nki_frontend.reference_notes import NOTES
from nki_frontend.source import trace_source
from nki_frontend.tracer import TensorSpec

HEAD = """
import numpy as np
from neuronxcc import nki
import neuronxcc.nki.isa as nisa
import neuronxcc.nki.language as nl

@nki.jit
def nki_kernel(a, b):
    out = nl.ndarray((128, 512), dtype=a.dtype, buffer=nl.shared_hbm)
    x = nl.load(a)
    y = nl.load(b)
"""
TAIL = "    nl.store(out, x)\n    return out\n"


@pytest.mark.parametrize("name", sorted(NOTES))
def test_example_compiles(name):
    body = "".join(f"    {line}\n" for line in NOTES[name].example.splitlines())
    grid = (1,) if name == "nl.program_id" else ()
    specs = [TensorSpec(n, (128, 512), "float32") for n in "ab"]
    traced = trace_source(HEAD + body + TAIL, "nki_kernel", specs, grid=grid)
    assert traced.ok, [(d.rule, d.message) for d in traced.diagnostics]


@pytest.mark.parametrize("name", sorted(NOTES))
def test_example_uses_the_name(name):
    method = name.rpartition(".")[2]
    assert method in NOTES[name].example
    assert reference.lookup(name).found


def test_every_name_has_a_bounded_entry():
    names = reference.names()
    assert {"nl.load", "nisa.nc_matmul", "nki.jit", "tensor.reshape"} <= set(names)
    for name in names:
        entry = reference.lookup(name)
        assert entry.found, name
        assert entry.full_name.endswith(name.rpartition(".")[2])
        assert 0 < len(entry.text) <= reference.MAX_TEXT


@pytest.mark.parametrize(
    "spelling",
    [
        "nisa.nc_matmul",
        "nki.isa.nc_matmul",
        "neuronxcc.nki.isa.nc_matmul",
        "nc_matmul",
        " nisa.nc_matmul(a, b) ",
    ],
)
def test_spellings(spelling):
    entry = reference.lookup(spelling)
    assert entry.full_name == "neuronxcc.nki.isa.nc_matmul"
    assert "stationary" in entry.text.splitlines()[0]
    assert "engine: tensor" in entry.text
    assert "error: err_num_partition_mismatch; fix: put the contraction axis" in entry.text


def test_methods_are_found_on_any_variable():
    assert reference.lookup("acc.broadcast_to").full_name == "tensor.broadcast_to"


def test_unknown_names_get_near_ones():
    entry = reference.lookup("nl.reduce_summ")
    assert not entry.found
    assert not entry.text
    assert "nl.sum" in reference.lookup("nl.sums").similar
    assert "nisa.tensor_reduce" in reference.lookup("nisa.tensor_reduction").similar


@pytest.mark.parametrize(
    "name", ["", ".", "nl.", "__builtins__", "nl.__dict__", "nl.load.__globals__", "a" * 256]
)
def test_only_public_names_are_looked_at(name):
    assert not reference.lookup(name).found or name == "nl."
