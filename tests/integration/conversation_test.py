"""Conversations as real models hold them, through the real services.

A local OpenAI-compatible server plays recorded answers, a list for each model, and keeps what it was
sent (recorded.py). Each test is one thing that models do: calls at once, broken JSON, code without a call,
empty turns, refusals, wrong entry names, text after the end, cut answers.
"""

from __future__ import annotations

import json
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.integration.cluster import NKICTL
from tests.integration.recorded import CONVERSATIONS, TASK, Provider


@pytest.fixture(scope="module")
def server(cluster) -> tuple[str, Path]:
    """The orchestrator's address, and a folder with the task."""
    (cluster.folder / "task.py").write_text(TASK)
    return cluster.grpc("orchestrator"), cluster.folder


def run(server, model: str, *options: str) -> dict:
    """A session to its end."""
    address, folder = server
    command = [NKICTL, "--server", address, "--json", "run", folder / "task.py", "-o", folder / "kernel.py"]
    done = subprocess.run([*command, "--model", model, *options], capture_output=True, text=True, timeout=120)
    assert done.stdout, done.stderr
    return json.loads(done.stdout)["session"]


def results(provider: Provider, model: str, request: int) -> list[str]:
    """The tool results (or user texts) that followed the answer before this request."""
    messages = provider.requests[model][request]["messages"]
    last = max(i for i, m in enumerate(messages) if m["role"] == "assistant")
    return [m["content"] for m in messages[last + 1 :]]


# What the model is told after its first answer, for those that pass in a later turn.
TOLD = {
    "broken_json": "are not valid JSON",
    "empty_turns": "neither a tool call nor a kernel",
    "wrong_entry_name": "defines no function named `nki_kernel`",
    "cut_answer": "limit of output tokens",
    "cut_kernel": "compiled: no",
    "unknown_tool": "There is no tool named `bash`",
}


@pytest.mark.parametrize("model", sorted(TOLD))
def test_a_slip_is_explained_and_mended(server, provider, model):
    session = run(server, model)
    assert session["state"] == "SESSION_STATE_PASSED", session["message"]
    assert session["turns_used"] == len(CONVERSATIONS[model])
    assert TOLD[model] in "\n".join(results(provider, model, 1))


@pytest.mark.parametrize("model", ["fence_without_call", "text_beside_the_call"])
def test_a_pass_ends_the_session(server, provider, model):
    session = run(server, model)
    assert session["state"] == "SESSION_STATE_PASSED"
    assert session["turns_used"] == 1
    assert len(provider.requests[model]) == 1


def test_calls_made_at_once_are_answered_each(server, provider):
    session = run(server, "several_calls")
    assert session["state"] == "SESSION_STATE_PASSED"
    broken, lookup, wrong = results(provider, "several_calls", 1)
    assert "err_num_partition_exceed_arch_limit" in broken
    assert lookup.startswith("neuronxcc.nki.language.load(")
    assert "pattern: kernel = expected + 1;" in wrong


def test_what_was_said_is_not_said_again(server, provider):
    session = run(server, "same_kernel_again")
    assert session["state"] == "SESSION_STATE_PASSED"
    assert "index" in results(provider, "same_kernel_again", 1)[0]
    again = results(provider, "same_kernel_again", 2)[0]
    assert again.startswith("This is the kernel of turn 1 again, unchanged")
    assert "index" not in again


def test_profile_costs_no_verification(server, provider):
    session = run(server, "profiles")
    assert session["verifications"] == 2
    profile = results(provider, "profiles", 1)[1]
    assert profile.startswith("estimated latency:")
    assert "costliest lines" in profile


@pytest.mark.parametrize(
    ("model", "reason", "words"),
    [
        ("gives_up", "END_REASON_MODEL_GAVE_UP", "it said: I can't do this."),
        ("refusal", "END_REASON_REFUSED", "I won't write kernels."),
    ],
)
def test_an_end_without_a_kernel_says_why(server, model, reason, words):
    session = run(server, model)
    assert session["state"] == "SESSION_STATE_NOT_SOLVED"
    assert session["end_reason"] == reason
    assert words in session["message"]


def test_episodes_are_whole_conversations(server, tmp_path):
    address, _ = server
    run(server, "builtin")
    out = tmp_path / "episodes.jsonl"
    done = subprocess.run(
        [NKICTL, "--server", address, "export", "--passed", "-o", out],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    episodes = [json.loads(line) for line in out.read_text().splitlines()]
    assert episodes
    for episode in episodes:
        assert episode["outcome"]["passed"] and episode["reward"]["binary"] == 1.0
        assert episode["messages"][0]["role"] == "system"
        calls = [c["id"] for m in episode["messages"] for c in m.get("tool_calls", [])]
        assert {m["tool_call_id"] for m in episode["messages"] if m["role"] == "tool"} <= set(calls)
        assert "def nki_kernel(" in episode["kernel"]
        assert episode["task"]["hash"] and episode["verdict"]["seeds"]


def test_an_export_that_fails_or_is_interrupted_leaves_nothing(server, tmp_path):
    address, _ = server
    session = run(server, "builtin")["id"]
    command = [NKICTL, "--server", address, "export", "-o", tmp_path / "episodes.jsonl"]
    failed = subprocess.run([*command, session, "s-unknown"], capture_output=True, text=True, timeout=60)
    assert failed.returncode == 1
    assert "s-unknown" in failed.stderr
    assert list(tmp_path.iterdir()) == []
    unwritable = [*command[:-1], tmp_path / "none" / "episodes.jsonl", session]
    failed = subprocess.run(unwritable, capture_output=True, text=True, timeout=60)
    assert failed.returncode == 1
    assert "No such file or directory" in failed.stderr

    export = subprocess.Popen([*command, *[session] * 20000], stderr=subprocess.PIPE, text=True)
    while not list(tmp_path.iterdir()):
        assert export.poll() is None
        time.sleep(0.01)
    export.send_signal(signal.SIGINT)
    _, err = export.communicate(timeout=60)
    assert export.returncode == 130, err
    assert list(tmp_path.iterdir()) == []


def test_prompts_are_shown_as_sent(server, provider):
    address, folder = server
    shown = {}
    for mode in ("agent", "single-shot", "multi-turn"):
        command = [
            NKICTL,
            "--server",
            address,
            "--json",
            "prompt",
            "show",
            folder / "task.py",
            "--mode",
            mode,
        ]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        shown[mode] = json.loads(done.stdout)
    assert [t["name"] for t in shown["agent"]["tools"]] == [
        "compile_kernel",
        "verify_kernel",
        "profile_kernel",
        "lookup_api",
    ]
    assert len({prompt["hash"] for prompt in shown.values()}) == 3
    page = (Path(__file__).parents[2] / "docs" / "prompts.md").read_text()
    for prompt in shown.values():
        assert f"{prompt['name']}@{prompt['hash']}" in page, "docs/prompts.md is out of date"
    if not provider.requests["refusal"]:
        run(server, "refusal")
    sent = provider.requests["refusal"][0]["messages"]
    assert sent[0]["content"] == shown["agent"]["system"]
    assert sent[1]["content"] == shown["agent"]["user"]["content"][0]["text"]


def test_tools_can_be_left_out(server):
    address, folder = server
    command = [NKICTL, "--server", address, "--json", "prompt", "show", folder / "task.py"]
    done = subprocess.run(
        [*command, "--tool", "compile_kernel", "--tool", "verify_kernel"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert [t["name"] for t in json.loads(done.stdout)["tools"]] == ["compile_kernel", "verify_kernel"]
    done = subprocess.run([*command, "--tool", "bash"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "profile_kernel" in done.stdout + done.stderr
