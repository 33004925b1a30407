"""Conversations as real models hold them, through the real services.

A local OpenAI-compatible server plays recorded answers, a list for each model, and keeps what it was
sent. Each test is one thing that models do: calls at once, broken JSON, code without a call, empty turns,
refusals, wrong entry names, text after the end, cut answers.
"""

from __future__ import annotations

import http.server
import json
import os
import signal
import subprocess
import threading
import time
from pathlib import Path

import pytest

NKICTL = Path(os.environ["NKI_BUILD_DIR"]) / "services" / "nkictl" / "nkictl"

TASK = """
import torch


class Model(torch.nn.Module):
    def forward(self, x):
        return torch.relu(x) + 1.0


def get_inputs():
    return [torch.randn(140, 96)]


def get_init_inputs():
    return []
"""

KERNEL = """from neuronxcc import nki
import neuronxcc.nki.language as nl


@nki.jit
def nki_kernel(x):
    rows, cols = x.shape
    out = nl.ndarray((rows, cols), dtype=x.dtype, buffer=nl.shared_hbm)
    i_p = nl.arange(128)[:, None]
    i_f = nl.arange(cols)[None, :]
    for i in nl.affine_range((rows + 127) // 128):
        row = i * 128 + i_p
        tile = nl.load(x[row, i_f], mask=(row < rows))
        result = nl.add(nl.maximum(tile, 0.0), 1.0, mask=(row < rows))
        nl.store(out[row, i_f], value=result, mask=(row < rows))
    return out
"""
WRONG = KERNEL.replace("1.0, mask", "2.0, mask")
BROKEN = KERNEL.replace("nl.arange(128)", "nl.arange(256)")
FENCED = f"Here is the kernel.\n\n```python\n{KERNEL}```\nIt loads tiles of 128 rows."


def call(name: str, arguments: dict | str, call_id: str = "call_1") -> dict:
    """A tool call in the provider's form; arguments may be broken JSON."""
    text = arguments if isinstance(arguments, str) else json.dumps(arguments)
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": text}}


def answer(
    text: str | None = None, *calls: dict, finish: str | None = None, refusal: str | None = None
) -> dict:
    """A chat completion as the API returns it."""
    message: dict = {"role": "assistant", "content": text}
    if calls:
        message["tool_calls"] = list(calls)
    if refusal is not None:
        message["refusal"] = refusal
    reason = finish or ("tool_calls" if calls else "stop")
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "recorded",
        "choices": [{"index": 0, "message": message, "finish_reason": reason}],
        "usage": {"prompt_tokens": 100, "completion_tokens": 50, "total_tokens": 150},
    }


def compiles(source: str, call_id: str = "call_1") -> dict:
    return call("compile_kernel", {"source": source}, call_id)


CONVERSATIONS: dict[str, list[dict]] = {
    "several_calls": [
        answer(
            None, compiles(BROKEN, "a"), call("lookup_api", {"name": "nl.load"}, "b"), compiles(WRONG, "c")
        ),
        answer(None, compiles(KERNEL, "d")),
    ],
    "broken_json": [
        answer(None, call("compile_kernel", '{"source": "from neuro')),
        answer(None, compiles(KERNEL)),
    ],
    "fence_without_call": [answer(FENCED)],
    "empty_turns": [answer(""), answer(None), answer(None, compiles(KERNEL))],
    "gives_up": [answer("Let me think."), answer("It is hard."), answer("I can't do this.")],
    "refusal": [answer(None, refusal="I won't write kernels.")],
    "wrong_entry_name": [
        answer(None, compiles(KERNEL.replace("nki_kernel", "my_kernel"))),
        answer(None, compiles(KERNEL)),
    ],
    "text_beside_the_call": [answer("Done. This is the final answer.", compiles(KERNEL))],
    "cut_answer": [answer("Let me reason at length", finish="length"), answer(None, compiles(KERNEL))],
    "cut_kernel": [answer(FENCED[:400], finish="length"), answer(None, compiles(KERNEL))],
    "unknown_tool": [answer(None, call("bash", {"command": "ls"})), answer(None, compiles(KERNEL))],
    "same_kernel_again": [
        answer(None, compiles(WRONG, "a")),
        answer(None, compiles(WRONG, "b")),
        answer(None, compiles(KERNEL, "c")),
    ],
    "profiles": [
        answer(None, compiles(WRONG, "a"), call("profile_kernel", {}, "b")),
        answer(None, compiles(KERNEL, "c")),
    ],
}


class Provider:
    """Plays the recorded answers, a list for each model, and keeps the requests."""

    def __init__(self) -> None:
        self.requests: dict[str, list[dict]] = {name: [] for name in CONVERSATIONS}
        provider = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                seen = provider.requests[body["model"]]
                seen.append(body)
                reply = json.dumps(CONVERSATIONS[body["model"]][len(seen) - 1]).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(reply)))
                self.end_headers()
                self.wfile.write(reply)

            def log_message(self, *_: object) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def models(self) -> str:
        """The gateway's configuration, in YAML (of which JSON is a part)."""
        url = f"http://127.0.0.1:{self.server.server_address[1]}/v1"
        return json.dumps(
            {
                "models": [
                    {
                        "name": name,
                        "provider": "openai",
                        "model": name,
                        "base_url": url,
                        "max_output_tokens": 4096,
                    }
                    for name in CONVERSATIONS
                ]
            }
        )


@pytest.fixture(scope="module")
def provider():
    made = Provider()
    yield made
    made.server.shutdown()


@pytest.fixture(scope="module")
def server(provider, tmp_path_factory):
    """A cluster for all tests; the orchestrator's address."""
    folder = tmp_path_factory.mktemp("cluster")
    (folder / "models.yaml").write_text(provider.models())
    (folder / "task.py").write_text(TASK)
    environment = dict(os.environ, OPENAI_API_KEY="sk-recorded", TMPDIR=str(folder))
    with open(folder / "up.log", "w") as log:
        up = subprocess.Popen(
            [
                NKICTL,
                "--json",
                "--work-dir",
                folder / "work",
                "--models-file",
                folder / "models.yaml",
                "up",
                "--any-port",
            ],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
        services = json.loads(up.stdout.readline())["services"]
        yield services["orchestrator"]["grpc"], folder
        up.terminate()
        assert up.wait(timeout=60) == 0


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
