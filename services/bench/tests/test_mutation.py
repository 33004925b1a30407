"""The classes of bugs, and whether a mutant's results differ."""

from __future__ import annotations

import pytest
from nkiagent_bench import suite
from nkiagent_bench.evaluate import quiet
from nkiagent_bench.mutation import effect, operators, score, subjects

quiet()

KERNEL = """
@nki.jit
def nki_kernel(x):
    i_p = nl.arange(128)[:, None]
    i_f = nl.arange(512)[None, :]
    for t in nl.affine_range(4):
        total = nl.zeros((128, 1), dtype=nl.float32)
        best = nl.full((128, 1), -3.0e38, dtype=nl.float32)
        for c in nl.sequential_range(n // 2):
            tile = nl.load(x[t * 128 + i_p, c * 512 + i_f], mask=(t * 128 + i_p < 500))
            total += nl.sum(tile, axis=[1])
            best[...] = nl.maximum(best, nl.max(tile, axis=[1]))
        nl.store(out[t * 128 + i_p, 0], value=total, mask=(t * 128 + i_p < 500))
"""


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("wrong tile bound", ["nl.arange(127)", "nl.arange(511)"]),
        ("lost last tile", ["nl.affine_range(3)", "nl.sequential_range(n // 2 - 1)"]),
        (
            "dropped accumulation",
            ["total[...] = nl.sum(tile, axis=[1])", "best[...] = nl.max(tile, axis=[1])"],
        ),
        (
            "swapped axis",
            ["x[c * 512 + i_f, t * 128 + i_p]", "nl.sum(tile, axis=[0])", "nl.max(tile, axis=[0])"],
        ),
        (
            "off-by-one mask",
            ["mask=t * 128 + i_p <= 500", "mask=t * 128 + i_p < 499"] * 2,
        ),
        ("wrong reduction init", ["nl.full((128, 1), 1.0", "nl.full((128, 1), 0.0"]),
        ("missing store", ["pass", "pass"]),
        ("stale buffer", ["x[0 * 128 + i_p", "0 * 512 + i_f]", "out[0 * 128 + i_p"]),
    ],
)
def test_each_class_changes_one_place(kind, expected):
    found = operators.mutants(KERNEL, kind)
    assert len(found) == len(expected)
    for mutant, text in zip(found, expected, strict=True):
        assert text in mutant.source
        assert mutant.kind == kind
        assert mutant.line > 2
    assert len({mutant.source for mutant in found}) == len(found)


def test_mutants_are_spread_over_the_kernel():
    found = operators.mutants(KERNEL, "off-by-one mask")
    chosen = operators.spread(found, 2)
    assert [found.index(mutant) for mutant in chosen] == [1, 3]
    assert operators.spread(found, 9) == found


def test_effects_are_found_without_the_verifier():
    known = {"max_last_axis": suite.find_tasks()["max_last_axis"]}
    subject = next(s for s in subjects_for(known))
    inputs = effect.inputs_of(subject.task, subject.facts)
    original = effect.build(subject.source, inputs)
    assert original.errors == []

    def effect_of(before: str, after: str) -> str:
        assert before in subject.source
        mutant = effect.build(subject.source.replace(before, after), inputs)
        return effect.effect(original, mutant, inputs, subject.task.atol, subject.task.rtol)

    assert effect_of("-3.0e38", "-2.0e38") == "equivalent"
    assert effect_of("best)", "nl.add(best, 1e-6))") == "within tolerance"
    # Drawn inputs have a maximum above zero in every row; those without a number above zero show it.
    assert effect_of("-3.0e38", "0.0") == "changed"
    assert effect_of("sequential_range(3)", "sequential_range(2)") == "changed"
    assert effect_of("nl.store(", "nl.stor(") == "changed"


def subjects_for(known):
    for path in sorted(subjects.KERNELS.glob("*.py")):
        if path.stem in known:
            task = suite.load_task(known[path.stem])
            yield subjects.Subject(
                f"hand/{path.stem}", task, subjects.describe(task.source), path.read_text()
            )


def test_every_kernel_by_hand_has_its_task():
    known = suite.find_tasks()
    assert {path.stem for path in subjects.KERNELS.glob("*.py")} <= set(known)


def test_the_table_counts_who_caught_what():
    rows = [
        score.Row("1", "hand/a", "missing store", 3, "left out", "", "changed", "compile"),
        score.Row("2", "hand/a", "missing store", 4, "left out", "", "changed", "mismatch"),
        score.Row("3", "hand/a", "missing store", 5, "left out", "", "changed", "high rigor"),
        score.Row("4", "hand/a", "missing store", 6, "left out", "", "changed", ""),
        score.Row("5", "hand/a", "missing store", 7, "left out", "", "equivalent", ""),
        score.Row("6", "hand/a", "missing store", 8, "left out", "", "within tolerance", ""),
    ]
    lines = {line[0]: line[1:] for line in score.table(rows)}
    assert lines["missing store"] == ["6", "1", "1", "4", "1", "1", "1", "1", "2/4"]
    assert lines["all"] == lines["missing store"]
    assert lines["stale buffer"][-1] == "none"
    page = score.as_markdown(rows, [])
    assert "line 5, missing store: left out; caught by high rigor" in page
    assert "line 6, missing store: left out; missed by high rigor too" in page


def test_programs_that_are_not_built_are_named(monkeypatch, tmp_path):
    monkeypatch.setenv("NKI_BUILD_DIR", str(tmp_path))
    with pytest.raises(suite.SuiteError, match="build it first"):
        score.service_binary("nkictl/nkictl")
