"""What hostile Python does to a child, and that it does nothing to anybody else."""

from __future__ import annotations

import os
import pathlib
import sys
import time

import nki_sandbox
import pytest
from conftest import start_parent


def processes_below(root: int) -> set[int]:
    """Processes that descend from `root`."""
    parents: dict[int, int] = {}
    for entry in pathlib.Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue  # It has just ended.
    found = {root}
    while True:
        more = {pid for pid, parent in parents.items() if parent in found} - found
        if not more:
            return found - {root}
        found |= more


@pytest.fixture(autouse=True)
def nothing_stays_behind(python_parent: nki_sandbox.WarmParent):
    """After each test only the one ready child is left, and the parent is the same."""
    pid = python_parent.pid
    yield
    for _ in range(500):
        if len(processes_below(pid)) <= 1:
            break
        time.sleep(0.01)
    assert len(processes_below(pid)) <= 1
    assert python_parent.pid == pid


def run(parent: nki_sandbox.WarmParent, source: str, **limits) -> dict:
    """Runs Python text in a child."""
    return parent.run(source.encode(), **limits)


def test_parent_has_the_strongest_level(python_parent):
    assert python_parent.level == "namespaces"


def test_endless_loop(python_parent):
    outcome = run(python_parent, "while True: pass", wall_limit_s=0.3)
    assert outcome["kind"] == "wall_timeout"
    assert "300ms" in outcome["detail"]


def test_fork_bomb(python_parent):
    outcome = run(python_parent, "import os\nwhile True: os.fork()")
    assert outcome["kind"] == "policy_violation"
    assert "clone" in outcome["detail"] or "fork" in outcome["detail"]


def test_subprocess(python_parent):
    outcome = run(python_parent, "import subprocess\nsubprocess.run(['/bin/sh', '-c', 'id'])")
    assert outcome["kind"] == "policy_violation"


def test_thread_bomb(python_parent):
    source = """
import threading
started = 0
try:
    while True:
        threading.Thread(target=threading.Event().wait, daemon=True).start()
        started += 1
except RuntimeError as error:
    answer = f"{started} {error}"
"""
    outcome = run(python_parent, source)
    assert outcome["kind"] == "ok"
    assert int(outcome["reply"].split()[0]) < 32


def test_hundred_gibibytes(python_parent):
    outcome = run(python_parent, "x = [bytearray(1 << 30) for _ in range(100)]", address_space_bytes=2 << 30)
    assert outcome["kind"] == "memory_limit"
    assert "2048 MiB" in outcome["detail"]


@pytest.mark.parametrize(
    "path",
    ["/etc/passwd", "/etc/shadow", "/proc/self/environ", "/proc/1/root"],
)
def test_files_outside_are_not_there(python_parent, path):
    outcome = run(python_parent, f"import os\nanswer = os.path.exists({path!r})")
    assert (outcome["kind"], outcome["reply"]) == ("ok", b"False")


@pytest.mark.parametrize("folder", ["/root", "/home", "/tmp"])
def test_folders_of_others_show_nothing_but_the_way_to_this_installation(python_parent, folder):
    shown = [pathlib.Path(p).resolve() for p in (*sys.path, sys.prefix, sys.base_prefix) if p]
    way = {
        p.relative_to(folder).parts[0]
        for p in shown
        if p.is_relative_to(folder) and p != pathlib.Path(folder)
    }
    source = f"import os\nanswer = ' '.join(os.listdir({folder!r}) if os.path.exists({folder!r}) else [])"
    outcome = run(python_parent, source)
    assert outcome["kind"] == "ok"
    assert set(outcome["reply"].decode().split()) <= way


@pytest.mark.parametrize("safe_path", [True, False])
def test_the_folder_in_which_the_service_was_started_is_not_there(tmp_path, monkeypatch, safe_path):
    secret = tmp_path / "secret"
    secret.write_text("x")
    monkeypatch.chdir(tmp_path)
    parent = start_parent("hostile", "hostile_main", safe_path)
    outcome = run(parent, f"import os\nanswer = os.path.exists({str(secret)!r})")
    assert outcome["reply"] == b"False"


def test_this_file_is_there_because_the_parent_needs_its_folder_but_the_repository_is_not(python_parent):
    repository = pathlib.Path(__file__).resolve().parents[3]
    source = (
        f"import os\nanswer = [os.path.exists(p) for p in ({__file__!r}, {str(repository / 'README.md')!r})]"
    )
    assert run(python_parent, source)["reply"] == b"[True, False]"


@pytest.mark.parametrize(
    "folder", ["/usr", "/usr/lib", "/dev", "/", str(pathlib.Path(__file__).resolve().parent)]
)
def test_writing_outside_tmp(python_parent, folder):
    name = f"{folder.rstrip('/')}/sandbox_escape"
    source = f"""
try:
    open({name!r}, "w").close()
    answer = "written"
except OSError as error:
    answer = type(error).__name__ + " " + str(error.errno)
"""
    assert run(python_parent, source)["reply"] == b"OSError 30"
    assert not os.path.exists(name)


def test_tmp_is_private(python_parent):
    assert run(python_parent, "open('/tmp/left_behind', 'w').write('x')")["kind"] == "ok"
    assert not os.path.exists("/tmp/left_behind")
    assert run(python_parent, "import os\nanswer = os.path.exists('/tmp/left_behind')")["reply"] == b"False"


def test_socket(python_parent):
    outcome = run(python_parent, "import socket\nsocket.socket()")
    assert outcome["kind"] == "policy_violation"
    assert outcome["detail"] == "called socket, which is not allowed"


def test_os_exit(python_parent):
    outcome = run(python_parent, "import os\nos._exit(7)")
    assert (outcome["kind"], outcome["exit_code"]) == ("exited", 7)


def test_crash_by_ctypes(python_parent):
    outcome = run(python_parent, "import ctypes\nctypes.string_at(8)")
    assert (outcome["kind"], outcome["signal"]) == ("crashed", 11)


def test_one_gibibyte_of_output(python_parent):
    outcome = run(python_parent, "import sys\nfor _ in range(1 << 10): sys.stdout.write('x' * (1 << 20))")
    assert outcome["kind"] == "output_flood"
    assert len(outcome["output"]) < 140 << 10


def test_closing_stdout_and_going_on(python_parent):
    outcome = run(python_parent, "import os\nos.close(1)\nos.close(2)\nanswer = 'still here'")
    assert (outcome["kind"], outcome["reply"]) == ("ok", b"still here")


def test_deep_recursion(python_parent):
    outcome = run(python_parent, "def f(): f()\nf()")
    assert outcome["kind"] == "exception"
    assert b"RecursionError" in outcome["reply"]
    outcome = run(
        python_parent,
        "import sys\nsys.setrecursionlimit(1 << 30)\nclass A:\n def __repr__(s): return repr(s)\nrepr(A())",
    )
    assert outcome["kind"] in ("crashed", "exception")


def test_signals_to_others(python_parent):
    source = f"""
import os
answer = []
for pid in (-1, 2, {os.getpid()}):
    try:
        os.kill(pid, 9)
        answer.append("killed")
    except ProcessLookupError:
        answer.append("nobody")
"""
    assert run(python_parent, source)["reply"] == b"['nobody', 'nobody', 'nobody']"


def test_ignoring_every_signal_does_not_help(python_parent):
    source = """
import signal
for number in set(signal.Signals) - {signal.SIGKILL, signal.SIGSTOP}:
    signal.signal(number, signal.SIG_IGN)
while True: pass
"""
    assert run(python_parent, source, wall_limit_s=0.3)["kind"] == "wall_timeout"


def test_own_handler_for_the_filters_signal_does_not_help(python_parent):
    source = """
import ctypes, os, signal
signal.signal(signal.SIGSYS, lambda *a: None)
result = ctypes.CDLL(None).socket(2, 1, 0)
try:
    os.fstat(result)
    answer = "a descriptor"
except OSError:
    answer = "no descriptor"
"""
    outcome = run(python_parent, source)
    assert outcome["reply"] == b"no descriptor"  # The call was skipped, not made.


def test_the_environment_is_the_parents_own(python_parent):
    outcome = run(python_parent, "import os\nanswer = sorted(os.environ)")
    assert b"HOME" in outcome["reply"]
    assert set(eval(outcome["reply"])) & {"PATH", "LOGNAME", "PWD", "NKI_BUILD_DIR"} == set()


def test_exceptions_carry_their_traceback(python_parent):
    outcome = run(python_parent, "1 / 0")
    assert outcome["kind"] == "exception"
    assert b"ZeroDivisionError" in outcome["reply"]
