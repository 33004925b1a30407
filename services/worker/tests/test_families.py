"""The inputs of a verification of high rigor."""

from __future__ import annotations

import numpy
from test_reference import read, task

FAMILIES = ("drawn", "large", "tiny", "negative", "positive", "constant_rows", "permuted", "nan", "infinite")


def test_families_change_floats_and_leave_indices(reference):
    source = task(
        "self, x, ids):\n        return x.index_select(0, ids)",
        inputs="[torch.randn(6, 50), torch.randint(0, 6, (9,))]",
    )
    facts = reference.describe(source)
    reply = reference.run(source, facts, [3], FAMILIES)
    found = {}
    for number, (family, trial) in enumerate(zip(FAMILIES, reply["trials"], strict=True)):
        x = read(reply["fds"][1 + 2 * number], trial["input_slots"][0], "float32", [6, 50])
        ids = read(reply["fds"][1 + 2 * number], trial["input_slots"][1], "int32", [9])
        drawn_ids = read(reply["fds"][1], reply["trials"][0]["input_slots"][1], "int32", [9])
        numpy.testing.assert_array_equal(ids, drawn_ids)
        expected = read(reply["fds"][2 + 2 * number], trial["output_slots"][0], "float32", [9, 50])
        numpy.testing.assert_array_equal(expected, x[ids])
        found[family] = x
    drawn = found["drawn"]
    numpy.testing.assert_array_equal(found["large"], drawn * 64)
    numpy.testing.assert_array_equal(found["tiny"], drawn / 1024)
    numpy.testing.assert_array_equal(found["negative"], -abs(drawn))
    numpy.testing.assert_array_equal(found["positive"], abs(drawn))
    assert (found["constant_rows"] == drawn[:, :1]).all()
    assert (found["permuted"] != drawn).any()
    numpy.testing.assert_array_equal(numpy.sort(found["permuted"], axis=None), numpy.sort(drawn, axis=None))
    assert numpy.isnan(found["nan"]).sum() == 1
    assert sorted(found["infinite"][numpy.isinf(found["infinite"])]) == [-numpy.inf, numpy.inf]
    again = reference.run(source, facts, [3], ("permuted",))
    numpy.testing.assert_array_equal(
        read(again["fds"][1], again["trials"][0]["input_slots"][0], "float32", [6, 50]), found["permuted"]
    )


def test_families_that_say_nothing_are_skipped(reference):
    source = task("self, x):\n        return torch.sqrt(x)", inputs="[torch.rand(8, 9)]")
    reply = reference.run(source, reference.describe(source), [1], ("drawn", "negative", "nan"))
    assert "skipped" not in reply["trials"][0]
    assert "NaN" in reply["trials"][1]["skipped"]
    assert "skipped" not in reply["trials"][2]
    # The output is all rounding: two right kernels may differ by more than it is large.
    source = task("self, x):\n        return (x * 1e8).sin()", inputs="[torch.randn(8, 9)]")
    reply = reference.run(source, reference.describe(source), [1], ("large",))
    assert "rounding the inputs moves" in reply["trials"][0]["skipped"]
    source = task("self, ids):\n        return ids + 1", inputs="[torch.randint(0, 6, (9,))]")
    reply = reference.run(source, reference.describe(source), [1], ("large",))
    assert "floating-point" in reply["trials"][0]["skipped"]


def test_sensitivity_is_what_a_rounding_moves(reference):
    source = task("self, x):\n        return x * 3", inputs="[torch.randn(8, 9)]")
    reply = reference.run(source, reference.describe(source), [1], ("drawn", "positive"))
    assert "sensitivity" not in reply["trials"][0]
    moved = reply["trials"][1]["sensitivity"][0]
    assert 0 < moved < 1e-5
