"""The linter finds what is wrong with tasks and suites, in folders made for it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from nkiagent_bench import calibrate, lint, stratify, suite
from nkiagent_bench.compare import compare
from nkiagent_bench.evaluate import quiet

quiet()

META = """id: {id}
title: A task
level: {level}
category: test
source: native
origin: made for a test
ranks: [2]
inputs:
  - {{shape: [40, 50], dtype: float32}}
outputs:
  - {{shape: [40, 50], dtype: float32}}
atol: {atol}
rtol: {rtol}
tolerance_reason: made for a test
"""
SOURCE = '''"""A task."""

import torch
from torch import nn


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        {init}

    def forward(self, x):
        {forward}


def get_inputs():
    return [{inputs}]


def get_init_inputs():
    return []
'''


def write(
    root: Path,
    forward: str = "return torch.tanh(x)",
    *,
    name: str = "task",
    level: int = 1,
    init: str = "pass",
    inputs: str = "torch.randn(40, 50)",
    atol: float = 1e-4,
    rtol: float = 1e-4,
    edit: tuple[str, str] = ("", ""),
) -> Path:
    """A task's two files; `edit` changes its metadata."""
    folder = root / "tasks" / f"level{level}"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.py"
    path.write_text(SOURCE.format(init=init, forward=forward, inputs=inputs))
    meta = META.format(id=name, level=level, atol=atol, rtol=rtol)
    assert edit[0] in meta
    path.with_suffix(".yaml").write_text(meta.replace(*edit) if edit[0] else meta)
    return path


def problems(path: Path) -> str:
    return "\n".join(lint.lint_task(path).problems)


def test_a_good_task_has_no_problems(tmp_path):
    finding = lint.lint_task(write(tmp_path))
    assert finding.problems == []
    assert finding.checks > 50
    assert finding.closest_use > 1
    assert finding.fp16_use > 1
    assert 0 < finding.fair_use < 0.25


@pytest.mark.parametrize(
    ("forward", "found"),
    [
        ("return x * 0.0", "passes: zeros"),
        ("return torch.softmax(x, dim=1).sum(dim=1, keepdim=True).expand(40, 50) * 3", "passes: constant"),
        ("return x + 1e-9", "passes: copy of x"),
        (
            "return torch.cat((x[:-1], torch.zeros(1, 50)))",
            "passes: last index of axis 0 missing",
        ),
        ("return torch.sort(x.abs().round(), dim=1).values.expand(40, 50).clamp(0, 1)", "can't fail"),
    ],
)
def test_tasks_that_cannot_fail_are_caught(tmp_path, forward, found):
    assert found in problems(write(tmp_path, forward))


def test_weights_without_effect_are_caught(tmp_path):
    init = "self.scale, self.shift = nn.Parameter(torch.ones(50)), nn.Parameter(torch.zeros(50))"
    found = problems(write(tmp_path, "return torch.tanh(x) * self.scale + self.shift", init=init))
    assert "passes: scale taken for one" in found
    assert "passes: shift taken for zero" in found


def test_an_input_without_effect_is_caught(tmp_path):
    path = write(tmp_path, inputs="torch.randn(40, 50), torch.randn(40, 50)")
    path.write_text(
        path.read_text().replace("(self, x)", "(self, x, y)").replace("tanh(x)", "tanh(x + y * 0)")
    )
    two = "  - {shape: [40, 50], dtype: float32}\n"
    meta = path.with_suffix(".yaml")
    meta.write_text(meta.read_text().replace("inputs:\n", "inputs:\n" + two))
    assert "passes: y of another seed" in problems(path)


def test_each_output_is_judged_by_itself(tmp_path):
    path = write(tmp_path, "return torch.tanh(x), torch.ones(40, 50) + 0 * x")
    meta = path.with_suffix(".yaml")
    two = "  - {shape: [40, 50], dtype: float32}\n"
    meta.write_text(meta.read_text().replace("outputs:\n", "outputs:\n" + two))
    found = problems(path)
    assert "passes: constant (mean) (output_1)" in found
    assert "(output_0)" not in found


def test_tolerances_are_neither_too_wide_nor_too_narrow(tmp_path):
    found = problems(write(tmp_path, atol=0.02))
    assert "can't fail: float16 arithmetic passes" in found
    assert "passes: times 0.99" in found
    found = problems(write(tmp_path, "return torch.softmax(3 * x, dim=1)", atol=1e-10, rtol=0.0))
    assert "unfair: a right result takes" in found


@pytest.mark.parametrize(
    ("forward", "inputs", "found"),
    [
        ("return x + torch.rand(50)", "torch.randn(40, 50)", "reference: non_deterministic"),
        ("return x / missing", "torch.randn(40, 50)", "reference: forward_raises"),
        ("return x.double()", "torch.randn(40, 50)", "reference: unsupported_dtype"),
        ("return torch.tanh(x)", "torch.randn(40, int(torch.randint(3, 60, (1,))))", "shapes_depend_on_seed"),
        ("return torch.log(x)", "torch.randn(40, 50)", "reference: nan_output"),
        ("return torch.tanh(x) if x.sum() > 0 else x", "torch.randn(40, 50)", "export:"),
    ],
)
def test_references_that_no_kernel_can_match_are_named(tmp_path, forward, inputs, found):
    assert found in problems(write(tmp_path, forward, inputs=inputs))


@pytest.mark.parametrize(
    ("edit", "found"),
    [
        (("id: task", "id: other"), "id is other"),
        (("level: 1", "level: 2"), "level is 2"),
        (("source: native", "source: found"), "source is found"),
        (("source: native", "source: kernelbench"), "origin must name the KernelBench problem"),
        (("category: test\n", ""), "the key category is missing"),
        (("category: test", "category: test\ncategory: test"), "the key category is given twice"),
        (("category: test", "category: test\nowner: me"), "unknown key owner"),
        (("atol: 0.0001", "atol: small"), "atol must be of type float"),
        (("rtol: 0.0001", "rtol: -1"), "rtol is -1"),
        (("ranks: [2]", "ranks: [3]"), "ranks is [3], and the code says [2]"),
        (
            ("{shape: [40, 50], dtype: float32}\noutputs", "{shape: [40], dtype: float32}\noutputs"),
            "inputs is",
        ),
        (("inputs:\n  - {shape: [40, 50]", "inputs:\n  - {shape: [40, 0]"), "positive integers"),
    ],
)
def test_metadata_must_be_true(tmp_path, edit, found):
    assert found in problems(write(tmp_path, edit=edit))


def test_files_must_be_there_and_parse(tmp_path):
    path = write(tmp_path)
    path.with_suffix(".yaml").unlink()
    assert "task.yaml: no such file" in problems(path)
    path = write(tmp_path)
    path.write_text("def (")
    assert "doesn't parse" in problems(path)
    path.write_text(SOURCE.format(init="pass", forward="return x", inputs="").replace('"""A task."""', ""))
    assert "docstring of one line" in problems(path)
    path.write_text('"""A task."""\nimport torch\n')
    assert "Model is not defined" in problems(path)
    path.write_bytes(b"\xff\xfe")
    assert "can't be read" in problems(path)


def suite_file(root: Path, text: str, name: str = "small") -> Path:
    (root / "suites").mkdir(exist_ok=True)
    path = root / "suites" / f"{name}.yaml"
    path.write_text(text)
    return path


def test_suites_name_known_tasks_once(tmp_path):
    write(tmp_path)
    known = suite.find_tasks(tmp_path)
    good = "name: small\nversion: '1'\ntasks: [task]\n"
    assert suite.load_suite(suite_file(tmp_path, good), known).tasks == ["task"]
    for text, found in (
        (good.replace("[task]", "[task, task, gone]"), "task is listed twice; there is no task gone"),
        (good.replace("[task]", "[]"), "at least one"),
        (good.replace("name: small", "name: large"), "name is large"),
        (good + "extra: 1\n", "unknown keys: extra"),
        ("[1, 2]", "holds no mapping"),
        ("a: [", "can't be read"),
    ):
        with pytest.raises(suite.SuiteError, match=found.replace("[", r"\[")):
            suite.load_suite(suite_file(tmp_path, text), known)


def test_ids_are_unique_over_all_levels(tmp_path):
    write(tmp_path)
    write(tmp_path, level=2)
    with pytest.raises(suite.SuiteError, match="the id task is both"):
        suite.find_tasks(tmp_path)


def test_the_command_reports_and_tells_by_its_exit_code(tmp_path, capsys):
    write(tmp_path)
    write(tmp_path, "return x * 0.0", name="bad")
    suite_file(tmp_path, "name: small\nversion: '1'\ntasks: [task]\n")
    assert lint.main(["small", "--root", str(tmp_path), "--report", str(tmp_path / "report")]) == 0
    report = json.loads((tmp_path / "report.json").read_text())
    assert (report["tasks"], report["tasks_with_problems"]) == (1, 0)
    assert "| task | test | native |" in (tmp_path / "report.md").read_text()
    assert lint.main(["--root", str(tmp_path)]) == 1
    assert "bad: can't fail" in capsys.readouterr().out
    assert lint.main(["absent", "--root", str(tmp_path)]) == 1
    assert "there is no suite absent; known are small" in capsys.readouterr().err
    suite_file(tmp_path, "name: small\nversion: '1'\ntasks: [task, task]\n")
    assert lint.main(["--root", str(tmp_path), "--json"]) == 1


def test_calibration_writes_metadata_that_the_linter_accepts(tmp_path):
    path = write(tmp_path, "return torch.cumsum(x, dim=1) * 300")
    meta = path.with_suffix(".yaml")
    meta.write_text("".join(meta.read_text().splitlines(keepends=True)[:6]))
    assert "the key ranks is missing" in problems(path)
    assert calibrate.main(["--root", str(tmp_path)]) == 0
    assert problems(path) == ""
    assert 0.01 < suite.load_task(path).atol < 1


def test_comparison_is_the_judges(tmp_path):
    expected = torch.tensor([8.0, float("inf"), 0.0])
    assert compare(expected, torch.tensor([9.25, float("inf"), 0.25]), 0.25, 0.125).passed
    outcome = compare(expected, torch.tensor([9.5, float("inf"), 0.25]), 0.25, 0.125)
    assert (outcome.passed, outcome.mismatched, outcome.use) == (False, 1, 1.2)
    nan = torch.tensor([float("nan")])
    assert not compare(nan, nan, 1.0, 1.0).passed
    wide = torch.tensor([1.0, 2.0], dtype=torch.bfloat16)
    assert compare(wide, wide * 1.01, 0.0, 0.02).passed


def test_quotas_are_the_largest_remainders():
    assert stratify.quotas({"a": 60, "b": 30, "c": 10}, 10) == {"a": 6, "b": 3, "c": 1}
    assert sum(stratify.quotas({"a": 33, "b": 33, "c": 34}, 20).values()) == 20


def test_the_published_suites_are_whole_and_balanced():
    known = suite.find_tasks()
    suites = {name: suite.load_suite(path, known) for name, path in suite.find_suites().items()}
    for name, sizes in stratify.SIZES.items():
        assert len(suites[name].tasks) == sum(sizes)
        assert stratify.problems(suites[name], known) == []
    metas = [suite.load_task(path).meta for path in known.values()]
    assert sum(meta["outputs"][0]["dtype"] == "bfloat16" for meta in metas) >= 30
    sources = [meta["source"] for meta in metas]
    assert [sources.count(s) for s in suite.SOURCES] == [150, 60, 40]
    for rank in (2, 3, 4):
        assert sum(rank in meta["ranks"] for meta in metas) >= 50
    broken = suite.Suite("nkigen-60", "1", suites["nkigen-60"].tasks[1:])
    assert "level 1 has 19 tasks, not 20" in stratify.problems(broken, known)[0]
