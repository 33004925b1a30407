"""nkictl bench as a person uses it: runs that are killed and go on, reports, exports, bad input."""

import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import time
from pathlib import Path

import pytest

NKICTL = Path(os.environ["NKI_BUILD_DIR"]) / "services" / "nkictl" / "nkictl"

MODULE = """
import torch


class Model(torch.nn.Module):
    def forward(self, x):
        return {expression}


def get_inputs():
    return [torch.randn({shape})]


def get_init_inputs():
    return []
"""

TASKS = {
    "level1/1_relu": "torch.relu(x)",
    "level1/2_softmax": "torch.softmax(x, dim=-1)",
    "level1/3_random": "x + torch.rand(x.shape)",
    "level2/4_gelu": "torch.nn.functional.gelu(x) + 1",
    "level2/5_norm": "torch.nn.functional.layer_norm(x, (96,))",
    "level2/6_fft": "torch.fft.rfft(x).abs()",
    "level3/7_mix": "torch.softmax(x * 2, dim=-1) * torch.sigmoid(x)",
    "level3/8_tanh": "torch.tanh(x).sum(dim=-1)",
}


@pytest.fixture(scope="module")
def suite(tmp_path_factory) -> Path:
    """A folder of plain files, of which one has no stable reference and one is beyond builtin."""
    folder = tmp_path_factory.mktemp("kb") / "small"
    for name, expression in TASKS.items():
        path = folder / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(MODULE.format(expression=expression, shape="130, 96"))
    return folder


def nkictl(work: Path, *args: str, timeout: int = 200) -> subprocess.CompletedProcess:
    return subprocess.run(
        [NKICTL, "--work-dir", work, *args], text=True, capture_output=True, timeout=timeout, check=False
    )


def start(work: Path, *args: str) -> subprocess.Popen:
    return subprocess.Popen(
        [NKICTL, "--work-dir", work, *args],
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def rows_until(process: subprocess.Popen, count: int) -> int:
    """Reads until so many sessions have ended; how many did."""
    seen = 0
    while seen < count:
        line = process.stdout.readline()
        assert line, process.stderr.read()
        seen += line.startswith("[")
    return seen


@pytest.fixture(scope="module")
def finished(suite, tmp_path_factory) -> Path:
    """A run whose nkictl was killed after two rows and whose orchestrator was killed after two more."""
    work = tmp_path_factory.mktemp("work")
    first = start(work, "bench", "run", "--suite", str(suite), "--concurrency", "1")
    rows_until(first, 2)
    first.kill()
    first.communicate(timeout=60)
    second = start(work, "bench", "run", "--suite", str(suite), "--concurrency", "1")
    assert "have ended before and are not repeated" in second.stdout.readline()
    rows_until(second, 2)
    os.kill(json.loads((work / "orchestrator.json").read_text())["pid"], signal.SIGKILL)
    out, err = second.communicate(timeout=200)
    assert second.returncode == 0, out + err
    assert "orchestrator ended by itself and is started again" in out
    return work


def test_a_killed_run_goes_on_and_repeats_no_finished_session(finished):
    runs = json.loads(nkictl(finished, "--json", "bench", "list").stdout)["runs"]
    assert len(runs) == 1
    assert runs[0]["state"] == "RUN_STATE_FINISHED"
    assert runs[0]["counts"] == {"total": 8, "passed": 6, "not_solved": 2}
    with contextlib.closing(sqlite3.connect(finished / "data" / "events.db")) as store:
        assert store.execute("SELECT count(*), sum(open) FROM sessions").fetchone() == (8, 0)
    again = nkictl(finished, "bench", "run", "--name", runs[0]["spec"]["name"])
    assert again.returncode == 0, again.stderr
    assert "8 have ended before and are not repeated" in again.stdout
    assert "[" not in "".join(line[:1] for line in again.stdout.splitlines())


def test_the_report_has_its_keys_and_files(finished, tmp_path):
    report = nkictl(finished, "--json", "bench", "report", "small-builtin-agent", "-o", str(tmp_path / "out"))
    assert report.returncode == 0, report.stderr
    document = json.loads(report.stdout)
    assert list(document)[:7] == ["suite", "model", "mode", "tasks", "passed", "by_level", "wall_seconds"]
    assert (document["suite"], document["model"], document["mode"]) == ("small", "builtin", "agent")
    assert (document["tasks"], document["passed"]) == (8, 6)
    assert {level: entry["passed"] for level, entry in document["by_level"].items()} == {
        "1": 2,
        "2": 2,
        "3": 2,
    }
    assert 0 < document["wall_seconds"] < 200
    assert document["failures"]["task problem"] == {"non_deterministic": 1}
    assert [task["task"] for task in document["failed_tasks"]] == ["level1/3_random", "level2/6_fft"]
    assert 0 < document["latency"]["roofline_share"] <= 1
    assert document["toolchains"][0].startswith("compiler ")
    times = document["verify_seconds"]
    assert times["kernels"] == 6 and 0 < times["p50"] <= times["p90"] <= times["max"]
    assert times["slowest_task"] in TASKS
    files = {path.name for path in (tmp_path / "out").iterdir()}
    figures = {
        f"{name}.{end}" for name in ("pass_rate", "turns", "failures", "roofline") for end in ("svg", "png")
    }
    assert files == figures | {"report.md", "report.json", "rows.csv"}
    assert json.loads((tmp_path / "out" / "report.json").read_text()) == document
    assert (tmp_path / "out" / "report.md").read_text().count("| 6/8 = 75.0 % [40.9, 92.9] |") == 3
    assert len((tmp_path / "out" / "rows.csv").read_text().splitlines()) == 9


def test_an_exported_run_is_verified_elsewhere_and_every_change_is_named(finished, tmp_path):
    file = tmp_path / "run.json"
    assert nkictl(finished, "bench", "export", "small-builtin-agent", "-o", str(file)).returncode == 0
    elsewhere = tmp_path / "elsewhere"
    verified = nkictl(elsewhere, "--json", "bench", "verify", str(file))
    document = json.loads(verified.stdout)
    assert verified.returncode == 0, document
    assert (
        document["ok"] and document["rows"] == 8 and document["tampered"] == [] and document["repeated"] >= 7
    )

    changed = json.loads(file.read_text())
    changed["rows"][0]["record"] = changed["rows"][0]["record"].replace('"passed":true', '"passed":false')
    kernel = next(row for row in changed["rows"][1:] if "kernel" in row)["kernel"]
    kernel["source"] += "# changed\n"
    file.write_text(json.dumps(changed))
    tampered = nkictl(elsewhere, "bench", "verify", str(file))
    assert tampered.returncode == 1
    assert "row 0 (task level1/1_relu): its record was changed" in tampered.stdout
    assert "its kernel is not the one that was recorded" in tampered.stdout
    trusted = nkictl(elsewhere, "bench", "verify", str(file), "--public-key", "ab" * 32)
    assert trusted.returncode == 1
    assert "the run names another public key than the one to trust" in trusted.stdout
    assert nkictl(elsewhere, "bench", "verify", str(file), "--public-key", "mine").returncode == 2
    refused = nkictl(elsewhere, "bench", "report", str(file), "-o", str(tmp_path / "none"))
    assert refused.returncode == 1
    assert "is not as its orchestrator signed it" in refused.stderr
    assert not (tmp_path / "none").exists()


def test_an_interrupted_run_is_reported_only_when_asked_and_can_be_cancelled(suite, tmp_path):
    endless = tmp_path / "endless.py"
    endless.write_text(MODULE.format(expression="exec('while True: pass')", shape="4, 4"))
    process = start(tmp_path / "work", "bench", "run", "--suite", str(endless), "--name", "stuck")
    assert process.stdout.readline().startswith("run stuck (r-")
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "nkictl bench run --name stuck goes on with it" in err
    report = nkictl(tmp_path / "work", "bench", "report", "stuck")
    assert report.returncode == 1
    assert "run stuck is not finished (running, 0 of 1 sessions have ended)" in report.stderr
    assert nkictl(tmp_path / "work", "bench", "cancel", "stuck").stdout == "stuck cancelled\n"
    exported = tmp_path / "stuck.run.json"
    assert nkictl(tmp_path / "work", "bench", "export", "stuck", "-o", str(exported)).returncode == 0
    verified = nkictl(tmp_path / "work", "bench", "verify", str(exported), "--signatures-only")
    assert verified.returncode == 0
    assert "the run is cancelled, 0 of 1 rows" in verified.stdout
    assert nkictl(tmp_path / "work", "bench", "report", "stuck", "--partial").returncode == 0
    other = nkictl(tmp_path / "work", "bench", "run", "--suite", str(suite), "--name", "stuck")
    assert other.returncode == 1
    assert "there is a run named stuck of other tasks" in other.stderr


def test_bad_input_is_told_before_anything_starts(tmp_path):
    def refusal(*args: str) -> str:
        done = nkictl(tmp_path / "work", "bench", *args)
        assert done.returncode == 1
        assert not (tmp_path / "work").exists()
        return done.stderr

    bad = tmp_path / "bad.yaml"
    bad.write_text("name: bad\ntasks: [nope, nope]\n")
    assert "bad.yaml: listed more than once: nope" in refusal("run", "--suite", str(bad))
    bad.write_text("name: bad\ntasks: [nope]\n")
    assert "1 of 1 tasks have no file ID.py: nope" in refusal("run", "--suite", str(bad))
    assert 'no suite is named "nkigen-9"' in refusal("run", "--suite", "nkigen-9")
    assert "name a --suite" in refusal("run")
    text = tmp_path / "text.json"
    text.write_text("{}")
    assert "not an exported run" in refusal("report", str(text))
    text.write_text('{"format": "nkiagent.run-')
    assert "it is cut off" in refusal("verify", str(text))
    assert "can't read" in refusal("verify", str(tmp_path / "none.json"))
    (tmp_path / "empty").mkdir()
    assert "no .py file is in" in refusal("run", "--suite", str(tmp_path / "empty"))
    assert nkictl(tmp_path / "work", "bench", "run", "--suite", "x", "--mode", "magic").returncode == 2
    assert nkictl(tmp_path / "work", "bench").returncode == 2


def test_every_task_of_the_benchmark_is_listed_once_and_has_its_metadata():
    suites = json.loads(
        subprocess.run([NKICTL, "--json", "bench", "suites"], capture_output=True, check=True).stdout
    )
    tasks = {suite["name"]: suite["tasks"] for suite in suites["suites"]}
    assert {name: len(ids) for name, ids in tasks.items()} == {
        "nkigen-250": 250,
        "nkigen-150": 150,
        "nkigen-60": 60,
    }
    assert set(tasks["nkigen-60"]) <= set(tasks["nkigen-250"])
    assert set(tasks["nkigen-150"]) <= set(tasks["nkigen-250"])
