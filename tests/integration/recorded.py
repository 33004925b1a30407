"""What models really send, recorded: an OpenAI-compatible server that plays it, and the conversations."""

from __future__ import annotations

import http.server
import json
import threading

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
    "counted": [answer(FENCED)],
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
