"""nkictl as a person uses it: exit codes, files, output, and nothing left behind.

What nkictl starts and ends by itself is tried on services of its own; the rest goes to the shared cluster.
"""

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.integration.cluster import NKICTL

SOFTMAX = """
import torch


class Model(torch.nn.Module):
    def forward(self, x):
        return torch.softmax(x, dim=-1)


def get_inputs():
    return [torch.randn(64, 96)]


def get_init_inputs():
    return []
"""


def start(tmp_path: Path, *args: str) -> subprocess.Popen:
    """Starts nkictl in `tmp_path`, with its temporary files there as well."""
    (tmp_path / "tmp").mkdir(exist_ok=True)
    environment = dict(os.environ, TMPDIR=str(tmp_path / "tmp"))
    return subprocess.Popen(
        [NKICTL, *args],
        cwd=tmp_path,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def nkictl(tmp_path: Path, *args: str) -> subprocess.CompletedProcess:
    """Runs nkictl to its end, after which nothing that it started may be there."""
    process = start(tmp_path, *args)
    out, err = process.communicate(timeout=200)
    await_no_process_of(process.pid, 10)
    return subprocess.CompletedProcess(args, process.returncode, out, err)


def processes_of(nkictl_pid: int) -> list[str]:
    """Processes of the session that nkictl led: whatever it started, however far down."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if not entry.name.isdigit() or int(entry.name) == nkictl_pid:
                continue
            # "pid (name) state parent group session ...", where the name may hold anything.
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
            if int(fields[3]) == nkictl_pid and fields[0] != "Z":
                found.append((entry / "cmdline").read_text().replace("\0", " "))
        except OSError:
            pass  # ended meanwhile
    return found


def await_no_process_of(nkictl_pid: int, seconds: float) -> None:
    """Workers end a moment after their parent; what is there longer than that was left behind."""
    deadline = time.monotonic() + seconds
    while processes_of(nkictl_pid) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert processes_of(nkictl_pid) == []


def assert_nothing_left(tmp_path: Path, nkictl_pid: int) -> None:
    await_no_process_of(nkictl_pid, 10)
    assert list((tmp_path / "tmp").iterdir()) == []


@pytest.fixture
def task(tmp_path: Path) -> Path:
    path = tmp_path / "softmax.py"
    path.write_text(SOFTMAX)
    return path


def test_run_writes_the_kernel_and_exits_zero(tmp_path, task):
    result = nkictl(tmp_path, "run", str(task))
    assert result.returncode == 0, result.stdout + result.stderr
    assert "turn 1: model answered" in result.stdout
    assert "verdict" in result.stdout and "PASS" in result.stdout
    assert "\x1b" not in result.stdout
    assert "def nki_kernel(" in (tmp_path / "softmax.nki.py").read_text()
    assert list((tmp_path / "tmp").iterdir()) == []


def test_run_json_is_one_document(tmp_path, task, cluster):
    server = ["--server", cluster.grpc("orchestrator")]
    result = nkictl(tmp_path, *server, "run", str(task), "--json", "-o", "out.py", "--mode", "single-shot")
    document = json.loads(result.stdout)
    assert result.returncode == 0
    assert document["session"]["state"] == "SESSION_STATE_PASSED"
    assert document["kernel_file"] == "out.py"
    assert document["session"]["best"]["kernel"]["source"] == (tmp_path / "out.py").read_text()


def test_a_task_that_can_not_be_judged_exits_one(tmp_path, cluster):
    bad = tmp_path / "bad.py"
    bad.write_text("import torch\n")
    result = nkictl(tmp_path, "--server", cluster.grpc("orchestrator"), "run", str(bad))
    assert result.returncode == 1
    assert "Model" in result.stdout
    assert not (tmp_path / "bad.nki.py").exists()
    assert list((tmp_path / "tmp").iterdir()) == []


def test_bad_usage_exits_two_and_missing_files_one(tmp_path):
    assert nkictl(tmp_path, "run").returncode == 2
    assert nkictl(tmp_path, "run", "x.py", "--mode", "magic").returncode == 2
    missing = nkictl(tmp_path, "run", "missing.py", "--json")
    assert missing.returncode == 1
    assert json.loads(missing.stdout)["error"]["code"] == "NOT_FOUND"
    assert nkictl(tmp_path, "--help").returncode == 0
    alone = nkictl(tmp_path, "--server", "127.0.0.1:1", "list")
    assert alone.returncode == 1
    assert "no orchestrator answers at 127.0.0.1:1" in alone.stderr


def test_ctrl_c_drains_and_leaves_nothing(tmp_path):
    endless = tmp_path / "endless.py"
    endless.write_text(SOFTMAX.replace("return torch.softmax(x, dim=-1)", "exec('while True: pass')"))
    process = start(tmp_path, "run", str(endless))
    line = process.stdout.readline()
    assert line.startswith("session "), line
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, out + err
    assert_nothing_left(tmp_path, process.pid)


def test_killed_nkictl_takes_its_services_along(tmp_path, task):
    process = start(tmp_path, "run", str(task))
    process.stdout.readline()
    process.kill()
    process.communicate(timeout=60)
    await_no_process_of(process.pid, 60)


def test_demo_shows_true_repairs(tmp_path, cluster):
    tasks = ["--task", "softmax_wide_2d", "--task", "layernorm_offset_3d"]
    result = nkictl(tmp_path, "--server", cluster.grpc("orchestrator"), "demo", *tasks, "--json")
    document = json.loads(result.stdout)
    assert result.returncode == 0, document
    assert document["passed"] == 2 and document["repaired"] == 2
    after = {task["name"]: task["repaired_after"] for task in document["tasks"]}
    assert after["softmax_wide_2d"][0].startswith("err_")
    assert after["layernorm_offset_3d"] == ["mismatch"]


KERNEL = """
import neuronxcc.nki as nki
import neuronxcc.nki.language as nl


@nki.jit
def nki_kernel(x, factor=1.0):
    y = nl.ndarray(x.shape, dtype=x.dtype, buffer=nl.shared_hbm)
    for i in nl.affine_range(x.shape[0] // 128):
        t = nl.load(x[i * 128:(i + 1) * 128, :])
        nl.store(y[i * 128:(i + 1) * 128, :], nl.multiply(nl.exp(t), factor))
    return y
"""


def test_profile_reports_the_estimate_and_writes_a_timeline(tmp_path, cluster):
    (tmp_path / "kernel.py").write_text(KERNEL)
    shape = ["--arg", "x:float32[1024,256]", "--constant", "factor=2.0"]
    result = nkictl(tmp_path, "profile", "kernel.py", *shape, "--trace", "out.json")
    assert result.returncode == 0, result.stderr
    for word in ("latency", "bound by", "roofline", "FLOPs", "intensity", "vector", "HBM", "spilled"):
        assert word in result.stdout
    assert "nl.exp(t)" in result.stdout  # the costliest lines are quoted
    events = json.loads((tmp_path / "out.json").read_text())["traceEvents"]
    assert {e["args"]["name"] for e in events if e["name"] == "thread_name"} >= {"Scalar engine"}

    server = ["--compile-server", cluster.grpc("compile-service")]
    document = json.loads(nkictl(tmp_path, "--json", "profile", "kernel.py", *shape, *server).stdout)
    estimate = document["result"]["estimate"]
    assert int(estimate["traffic"][0]["bytes_read"]) == 1024 * 256 * 4
    assert estimate["roofline_us"] <= estimate["total_us"]


def test_profile_takes_its_arguments_from_a_task(tmp_path, task, cluster):
    kernel = KERNEL.replace("[i * 128:(i + 1) * 128, :]", "[:, :]").replace("x.shape[0] // 128", "1")
    (tmp_path / "kernel.py").write_text(kernel)
    servers = [
        *("--compile-server", cluster.grpc("compile-service")),
        *("--verify-server", cluster.grpc("verify-service")),
    ]
    result = nkictl(tmp_path, "profile", "kernel.py", "--task", str(task), *servers)
    assert result.returncode == 0, result.stderr
    assert "float32[64, 96]" in result.stdout


def test_profile_says_why_a_kernel_does_not_compile(tmp_path, cluster):
    (tmp_path / "kernel.py").write_text(KERNEL)
    server = ["--compile-server", cluster.grpc("compile-service")]
    result = nkictl(tmp_path, "profile", "kernel.py", "--arg", "float32[64,256]", *server)
    assert result.returncode == 1
    assert "err_tensor_output_not_written_to" in result.stdout


def test_python_runs_a_script_with_our_modules_and_its_own_arguments(tmp_path):
    (tmp_path / "helper.py").write_text("FACTOR = 3\n")
    (tmp_path / "script.py").write_text(
        "import sys\n"
        "import torch\n"
        "from helper import FACTOR\n"
        "import neuronxcc.nki as nki\n"
        "import neuronxcc.nki.language as nl\n"
        "@nki.benchmark(warmup=1, iters=2)\n"
        "def scale(x):\n"
        "    out = nl.ndarray(x.shape, dtype=x.dtype, buffer=nl.shared_hbm)\n"
        "    nl.store(out, nl.load(x) * FACTOR)\n"
        "    return out\n"
        "if __name__ == '__main__':\n"
        "    x = torch.randn(128, 64)\n"
        "    torch.testing.assert_close(scale(x), x * 3)\n"
        "    print(scale.benchmark_result.nc_latency.get_latency_percentile(50) > 0, sys.argv[1:])\n"
        "    sys.exit(7)\n"
    )
    done = nkictl(tmp_path, "python", "script.py", "--help", "-x", "run")
    assert done.returncode == 7, done.stderr
    assert done.stdout == "True ['--help', '-x', 'run']\n"
    assert "estimated by the timing model" in done.stderr


def test_python_leaves_signals_to_the_script(tmp_path):
    (tmp_path / "wait.py").write_text(
        "import signal\n"
        "assert not signal.pthread_sigmask(signal.SIG_BLOCK, [])\n"
        "try:\n    print('ready', flush=True)\n    signal.pause()\n"
        "except KeyboardInterrupt:\n    print('interrupted')\n"
    )
    process = start(tmp_path, "python", "wait.py")
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=60)[0] == "interrupted\n"


def test_python_must_come_first(tmp_path):
    done = nkictl(tmp_path, "--json", "python", "script.py")
    assert done.returncode == 2
    assert "python" in done.stderr
