#!/usr/bin/env python3
"""A local stand-in for model providers: a real HTTP server that speaks the Anthropic Messages API and
OpenAI's chat completions, and refuses what they refuse.

    chat_standin.py [--port N]

Prints {"port": N} on one line once it serves, and ends when its standard input ends. The model of a request
names the scenario to play, see SCENARIOS; the text that answers are made of comes from the request, so a
test can tell that the request arrived whole.

    POST /v1/messages            Anthropic; the key is ANTHROPIC_KEY
    POST /v1/chat/completions    OpenAI; the key is OPENAI_KEY
    GET  /log                    the requests so far: [{"path", "headers", "body", "events": [...]}]
    GET  /await?model=M&event=E&count=N   answers when N requests for M have seen E ("begun", "disconnected")
"""

import argparse
import http.server
import json
import select
import socketserver
import sys
import threading
import typing
import urllib.parse

Json = dict[str, typing.Any]

ANTHROPIC_KEY = "sk-ant-standin-0123456789"
OPENAI_KEY = "sk-standin-9876543210"
THINKING_SIGNATURE = "c2lnbmF0dXJl+/=="
REDACTED_DATA = "b3BhcXVl+/=="
AWAIT_SECONDS = 20.0


class Refused(Exception):
    """A request that the provider answers with an error."""

    def __init__(self, status: int, kind: str, message: str):
        super().__init__(message)
        self.status = status
        self.kind = kind
        self.message = message


class State:
    """What the server remembers. Thread-safe."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.log: list[Json] = []

    def begin(self, path: str, headers: Json, body: typing.Any) -> tuple[Json, int]:
        """Logs a request; the entry, and how many came before for the same model."""
        model = body.get("model") if isinstance(body, dict) else None
        with self.changed:
            earlier = sum(1 for entry in self.log if entry["model"] == model)
            entry = {"path": path, "headers": headers, "body": body, "model": model, "events": ["begun"]}
            self.log.append(entry)
            self.changed.notify_all()
            return entry, earlier

    def event(self, entry: Json, name: str) -> None:
        """Logs something that happened to a request."""
        with self.changed:
            entry["events"].append(name)
            self.changed.notify_all()

    def await_event(self, model: str, name: str, count: int) -> bool:
        """Waits until `count` requests for the model have seen the event."""

        def happened() -> bool:
            return sum(1 for e in self.log if e["model"] == model and name in e["events"]) >= count

        with self.changed:
            return self.changed.wait_for(happened, AWAIT_SECONDS)


STATE = State()


def require(condition: bool, message: str) -> None:
    """Refuses a malformed request as both providers do."""
    if not condition:
        raise Refused(400, "invalid_request_error", message)


class Anthropic:
    """The protocol of https://docs.anthropic.com/en/api/messages."""

    FIELDS = {
        "model", "messages", "max_tokens", "system", "tools", "tool_choice", "temperature", "top_p", "top_k",
        "stop_sequences", "stream", "metadata", "thinking", "service_tier",
    }  # fmt: skip

    @staticmethod
    def check_headers(headers: Json) -> None:
        """Key and version."""
        if headers.get("x-api-key") != ANTHROPIC_KEY:
            raise Refused(401, "authentication_error", "invalid x-api-key")
        require(headers.get("anthropic-version") == "2023-06-01", "anthropic-version: header is required")

    @classmethod
    def check_body(cls, body: Json) -> None:
        """The rules whose breach the real API answers with status 400."""
        unknown = set(body) - cls.FIELDS
        require(not unknown, f"{', '.join(sorted(unknown))}: Extra inputs are not permitted")
        require(
            isinstance(body.get("max_tokens"), int) and body["max_tokens"] > 0, "max_tokens: Field required"
        )
        require(isinstance(body.get("messages"), list) and body["messages"], "messages: at least one message")
        require(body["messages"][0]["role"] == "user", "messages: first message must use the user role")
        marks = [0]
        for block in body.get("system", []) if isinstance(body.get("system"), list) else []:
            cls.check_block(block, {"text"}, marks)
        open_calls: set[str] = set()
        for message in body["messages"]:
            assistant = message["role"] == "assistant"
            allowed = (
                {"text", "tool_use", "thinking", "redacted_thinking"}
                if assistant
                else {"text", "tool_result"}
            )
            require(bool(message["content"]), "messages: content must be non-empty")
            results = {b["tool_use_id"] for b in message["content"] if b["type"] == "tool_result"}
            require(open_calls <= results, "messages: `tool_use` ids were found without `tool_result` blocks")
            require(results <= open_calls, "messages: unexpected `tool_use_id` found in `tool_result` blocks")
            open_calls = set()
            for block in message["content"]:
                cls.check_block(block, allowed, marks)
                if block["type"] == "tool_use":
                    require(
                        isinstance(block["input"], dict), "tool_use.input: Input should be a valid dictionary"
                    )
                    open_calls.add(block["id"])
        require(marks[0] <= 4, f"A maximum of 4 blocks with cache_control may be provided. Found {marks[0]}.")
        for tool in body.get("tools", []):
            require(
                tool["input_schema"]["type"] == "object", "tools.input_schema.type: Input should be 'object'"
            )

    @staticmethod
    def check_block(block: Json, allowed: set[str], marks: list[int]) -> None:
        """One content block."""
        require(block["type"] in allowed, f"messages: block of type {block['type']} is not allowed here")
        if "cache_control" in block:
            require(block["cache_control"] == {"type": "ephemeral"}, "cache_control: unknown")
            require(block["type"] in ("text", "tool_use", "tool_result"), "cache_control: not allowed here")
            marks[0] += 1
        if block["type"] == "text":
            require(block["text"] != "", "messages: text content blocks must be non-empty")
        if block["type"] == "thinking":
            require(
                block["signature"] == THINKING_SIGNATURE, "messages: Invalid `signature` in `thinking` block"
            )
            require(block["thinking"] == "Let me think.", "messages: `thinking` blocks cannot be modified")
        if block["type"] == "redacted_thinking":
            require(block["data"] == REDACTED_DATA, "messages: Invalid `data` in `redacted_thinking` block")

    @staticmethod
    def last_text(body: Json) -> str:
        """What the user said last: text and tool results."""
        texts = []
        for block in body["messages"][-1]["content"]:
            texts.append(block["text"] if block["type"] == "text" else block.get("content", ""))
        return " ".join(texts)

    @staticmethod
    def answer(body: Json, text: str = "", calls: list[tuple[str, Json]] = (), stop: str = "") -> Json:
        """A message. With calls it also thinks, in the open and not."""
        turn = sum(1 for m in body["messages"] if m["role"] == "assistant")
        content: list[Json] = []
        if calls:
            content.append({"type": "thinking", "thinking": "Let me think.", "signature": THINKING_SIGNATURE})
            content.append({"type": "redacted_thinking", "data": REDACTED_DATA})
        if text:
            content.append({"type": "text", "text": text})
        for i, (name, arguments) in enumerate(calls):
            content.append({"type": "tool_use", "id": f"toolu_{turn}_{i}", "name": name, "input": arguments})
        reason = {"length": "max_tokens", "refusal": "refusal", "": "tool_use" if calls else "end_turn"}[stop]
        usage = {
            "input_tokens": 100,
            "output_tokens": 20,
            "cache_read_input_tokens": 300,
            "cache_creation_input_tokens": 40,
        }
        return {
            "id": f"msg_{turn}",
            "type": "message",
            "role": "assistant",
            "model": body["model"] + "-20250514",
            "content": content,
            "stop_reason": reason,
            "stop_sequence": None,
            "usage": usage,
        }

    @staticmethod
    def error(kind: str, message: str) -> Json:
        """An error body."""
        return {"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_standin"}

    RATE_HEADERS = {
        "anthropic-ratelimit-requests-limit": "50",
        "anthropic-ratelimit-requests-remaining": "7",
        "anthropic-ratelimit-requests-reset": "2026-01-01T00:00:00Z",
        "anthropic-ratelimit-tokens-remaining": "40000",
        "request-id": "req_standin",
    }
    OVERLOADED = (529, "overloaded_error", "Overloaded")
    RATE_LIMITED = (429, "rate_limit_error", "Number of requests has exceeded your rate limit")


class OpenAi:
    """The protocol of https://platform.openai.com/docs/api-reference/chat, without streaming."""

    @staticmethod
    def check_headers(headers: Json) -> None:
        """The key."""
        if headers.get("authorization") != f"Bearer {OPENAI_KEY}":
            raise Refused(401, "invalid_request_error", "Incorrect API key provided")

    @staticmethod
    def check_body(body: Json) -> None:
        """The rules whose breach real servers answer with status 400."""
        require(isinstance(body.get("messages"), list) and body["messages"], "[] is too short - 'messages'")
        require(body.get("n", 1) == 1, "n must be 1")
        open_calls: set[str] = set()
        for message in body["messages"]:
            role = message["role"]
            require(role in ("system", "user", "assistant", "tool"), f"Invalid value: '{role}'")
            require(isinstance(message.get("content"), str), "messages: content must be a string")
            if role == "tool":
                require(
                    message["tool_call_id"] in open_calls,
                    "messages with role 'tool' must follow 'tool_calls'",
                )
                open_calls.discard(message["tool_call_id"])
                continue
            require(
                not open_calls, "an assistant message with 'tool_calls' must be followed by tool messages"
            )
            for call in message.get("tool_calls", []):
                require(call["type"] == "function", "Invalid value for 'type'")
                try:
                    arguments = json.loads(call["function"]["arguments"])
                except ValueError:
                    arguments = None
                require(isinstance(arguments, dict), "Can only get item pairs from a mapping.")
                open_calls.add(call["id"])
        for tool in body.get("tools", []):
            require(tool["type"] == "function", "Invalid value for 'type'")
            require(tool["function"]["parameters"]["type"] == "object", "schema must be of type 'object'")

    @staticmethod
    def last_text(body: Json) -> str:
        """What came after the assistant's last message."""
        texts: list[str] = []
        for message in body["messages"]:
            texts = [] if message["role"] == "assistant" else texts + [message["content"]]
        return " ".join(text for text in texts if text)

    @staticmethod
    def answer(body: Json, text: str = "", calls: list[tuple[str, Json]] = (), stop: str = "") -> Json:
        """A completion with one choice. With calls it also gives its reasoning, as vLLM does."""
        turn = sum(1 for m in body["messages"] if m["role"] == "assistant")
        message: Json = {"role": "assistant", "content": text or None}
        if calls:
            message["reasoning_content"] = "Let me think."
            message["tool_calls"] = [
                {
                    "id": f"call_{turn}_{i}",
                    "type": "function",
                    "function": {"name": name, "arguments": json.dumps(arguments)},
                }
                for i, (name, arguments) in enumerate(calls)
            ]
        reason = {"length": "length", "refusal": "content_filter", "": "tool_calls" if calls else "stop"}[
            stop
        ]
        usage = {
            "prompt_tokens": 400,
            "completion_tokens": 20,
            "total_tokens": 420,
            "prompt_tokens_details": {"cached_tokens": 300},
            "completion_tokens_details": {"reasoning_tokens": 5},
        }
        return {
            "id": f"chatcmpl-{turn}",
            "object": "chat.completion",
            "created": 1700000000,
            "model": body["model"] + "-20250514",
            "choices": [{"index": 0, "message": message, "finish_reason": reason, "logprobs": None}],
            "usage": usage,
        }

    @staticmethod
    def error(kind: str, message: str) -> Json:
        """An error body."""
        return {"error": {"message": message, "type": kind, "param": None, "code": None}}

    RATE_HEADERS = {
        "x-ratelimit-limit-requests": "50",
        "x-ratelimit-remaining-requests": "7",
        "x-ratelimit-remaining-tokens": "40000",
        "x-request-id": "req_standin",
    }
    OVERLOADED = (503, "server_error", "The engine is currently overloaded, please try again later")
    RATE_LIMITED = (429, "rate_limit_exceeded", "Rate limit reached for requests")


class Handler(http.server.BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    # Or each answer on a kept connection waits 40 ms for a delayed acknowledgement.
    disable_nagle_algorithm = True

    def log_message(self, format: str, *args: typing.Any) -> None:  # noqa: A002 - the base class's name
        """Says nothing."""

    def do_GET(self) -> None:
        """The test's own questions."""
        url = urllib.parse.urlparse(self.path)
        query = {name: values[0] for name, values in urllib.parse.parse_qs(url.query).items()}
        if url.path == "/log":
            with STATE.changed:
                self.send_json(200, STATE.log)
        elif url.path == "/await":
            happened = STATE.await_event(query["model"], query["event"], int(query.get("count", "1")))
            self.send_json(200 if happened else 504, {"happened": happened})
        else:
            self.send_json(404, {})

    def do_POST(self) -> None:
        """One turn of a conversation."""
        raw = self.rfile.read(int(self.headers.get("content-length", "0")))
        provider = {"/v1/messages": Anthropic, "/v1/chat/completions": OpenAi}.get(self.path)
        if provider is None:
            self.send_json(404, {"error": {"message": f"no route {self.path}"}})
            return
        headers = {name.lower(): value for name, value in self.headers.items()}
        try:
            body = json.loads(raw)
        except ValueError:
            body = None
        entry, earlier = STATE.begin(self.path, headers, body)
        try:
            require(isinstance(body, dict), "the body is no JSON object")
            provider.check_headers(headers)
            provider.check_body(body)
            scenario = SCENARIOS.get(body.get("model", ""))
            if scenario is None:
                raise Refused(404, "not_found_error", f"model: {body.get('model')}")
            scenario(self, provider, body, earlier, entry)
        except Refused as refused:
            self.send_json(refused.status, provider.error(refused.kind, refused.message))
        except (BrokenPipeError, ConnectionResetError):
            STATE.event(entry, "disconnected")
            self.close_connection = True

    def send_json(self, status: int, body: typing.Any, headers: typing.Mapping[str, str] = {}) -> None:
        """A complete response."""
        self.send_raw(status, json.dumps(body).encode(), {"content-type": "application/json", **headers})

    def send_raw(self, status: int, body: bytes, headers: typing.Mapping[str, str]) -> None:
        """A complete response that need not be JSON."""
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def disconnected(self, seconds: float) -> bool:
        """Waits up to `seconds` for the client to close its connection."""
        readable, _, _ = select.select([self.connection], [], [], seconds)
        return bool(readable) and self.connection.recv(1) == b""


Provider = type[Anthropic] | type[OpenAi]
Scenario = typing.Callable[[Handler, Provider, Json, int, Json], None]


def chat(handler: Handler, provider: Provider, body: Json, earlier: int, entry: Json) -> None:
    """Says back what the user said last."""
    text = "You said: " + provider.last_text(body)
    handler.send_json(200, provider.answer(body, text), provider.RATE_HEADERS)


def tools(handler: Handler, provider: Provider, body: Json, earlier: int, entry: Json) -> None:
    """Calls two tools at once, then says back their results."""
    require(len(body.get("tools", [])) == 2, "this scenario wants two tools")
    if any(message["role"] == "assistant" for message in body["messages"]):
        handler.send_json(200, provider.answer(body, "Results: " + provider.last_text(body)))
        return
    calls = [
        ("compile_kernel", {"source": "def f():\n  pass  # \u00e9\u4e2d\U0001f600", "grid": [2]}),
        ("verify_kernel", {}),
    ]
    handler.send_json(200, provider.answer(body, "I will compile it.", calls))


def broken_arguments(handler: Handler, provider: Provider, body: Json, earlier: int, entry: Json) -> None:
    """Calls a tool with broken JSON where the protocol lets it, and then wants to see it mended."""
    if any(message["role"] == "assistant" for message in body["messages"]):
        handler.send_json(200, provider.answer(body, "Fine."))
        return
    answer = provider.answer(body, "", [("compile_kernel", {})])
    if provider is OpenAi:
        call = answer["choices"][0]["message"]["tool_calls"][0]
        call["function"]["arguments"] = '{"source": "def'
        del call["id"]
    else:
        answer["content"][-1]["input"] = "def"
    handler.send_json(200, answer)


def ends(stop: str) -> Scenario:
    """An answer that ends in a certain way."""

    def scenario(handler: Handler, provider: Provider, body: Json, earlier: int, entry: Json) -> None:
        handler.send_json(200, provider.answer(body, "I can't", stop=stop))

    return scenario


def fails(times: int, headers: Json, pick: typing.Callable[[Provider], tuple[int, str, str]]) -> Scenario:
    """Fails so many times with an error body, then chats."""

    def scenario(handler: Handler, provider: Provider, body: Json, earlier: int, entry: Json) -> None:
        if earlier >= times:
            chat(handler, provider, body, earlier, entry)
            return
        status, kind, message = pick(provider)
        handler.send_json(status, provider.error(kind, message), {**provider.RATE_HEADERS, **headers})

    return scenario


def sends(status: int, body: bytes, content_type: str = "application/json") -> Scenario:
    """Always the same bytes."""

    def scenario(handler: Handler, provider: Provider, _: Json, earlier: int, entry: Json) -> None:
        handler.send_raw(status, body, {"content-type": content_type})

    return scenario


def leaks_key(handler: Handler, provider: Provider, body: Json, earlier: int, entry: Json) -> None:
    """Refuses the key and repeats it in the error."""
    raise Refused(
        401, "authentication_error", f"bad key {ANTHROPIC_KEY} or {OPENAI_KEY} in: {handler.headers}"
    )


def endless(handler: Handler, provider: Provider, body: Json, earlier: int, entry: Json) -> None:
    """Sends for ever, as fast as it can."""
    handler.send_response(200)
    handler.send_header("transfer-encoding", "chunked")
    handler.end_headers()
    piece = b" " * 65536
    while True:
        handler.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))


def drip(handler: Handler, provider: Provider, body: Json, earlier: int, entry: Json) -> None:
    """Sends a byte now and then, for ever."""
    handler.send_response(200)
    handler.send_header("transfer-encoding", "chunked")
    handler.end_headers()
    while True:
        handler.wfile.write(b"1\r\n \r\n")
        if handler.disconnected(0.02):
            raise BrokenPipeError


def silent(handler: Handler, provider: Provider, body: Json, earlier: int, entry: Json) -> None:
    """Never answers."""
    if handler.disconnected(60):
        STATE.event(entry, "disconnected")
    handler.close_connection = True


def hangs_up(handler: Handler, provider: Provider, body: Json, earlier: int, entry: Json) -> None:
    """Closes the connection instead of an answer."""
    handler.close_connection = True


def cut_off(handler: Handler, provider: Provider, body: Json, earlier: int, entry: Json) -> None:
    """Closes the connection in mid-answer."""
    handler.send_response(200)
    handler.send_header("content-length", "1000")
    handler.end_headers()
    handler.wfile.write(b'{"id": "msg')
    handler.close_connection = True


def no_http(handler: Handler, provider: Provider, body: Json, earlier: int, entry: Json) -> None:
    """Sends what is no HTTP."""
    handler.wfile.write(b"\x00\x01garbage\r\n\r\n" * 20)
    handler.close_connection = True


SCENARIOS: dict[str, Scenario] = {
    "chat": chat,
    "tools": tools,
    "broken-arguments": broken_arguments,
    "max-tokens": ends("length"),
    "refusal": ends("refusal"),
    "rate-limited-twice": fails(2, {"retry-after": "0"}, lambda p: p.RATE_LIMITED),
    "rate-limited": fails(10**9, {"retry-after": "3600"}, lambda p: p.RATE_LIMITED),
    "overloaded-once": fails(1, {}, lambda p: p.OVERLOADED),
    "always-500": fails(10**9, {}, lambda p: (500, "api_error", "Internal server error")),
    "bad-request": fails(10**9, {}, lambda p: (400, "invalid_request_error", "prompt is too long: 9 > 8")),
    "quota": fails(10**9, {}, lambda p: (429, "insufficient_quota", "You exceeded your current quota")),
    "leaks-key": leaks_key,
    "html-404": sends(404, b"<html><body>nginx says no</body></html>", "text/html"),
    "redirect": sends(302, b""),
    "garbage": sends(200, bytes(range(256)) * 8),
    "broken-json": sends(200, b'{"id": "msg_1", "content": [{"type": "te'),
    "wrong-shape": sends(200, b'{"hello": ["world"], "content": 7, "choices": {}}'),
    "deep-json": sends(200, b"[" * 200000),
    "deep-arguments": sends(
        200,
        b'{"type":"message","content":[{"type":"tool_use","id":"a","name":"b","input":' + b'{"a":' * 90000,
    ),
    "endless": endless,
    "drip": drip,
    "silent": silent,
    "silent-2": silent,
    "hangs-up": hangs_up,
    "cut-off": cut_off,
    "no-http": no_http,
}


class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    """One thread for each connection."""

    daemon_threads = True
    request_queue_size = 1024

    def handle_error(self, request: typing.Any, client_address: typing.Any) -> None:
        """Clients that leave are part of the tests."""


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="A stand-in for model providers.")
    parser.add_argument("--port", type=int, default=0)
    server = Server(("127.0.0.1", parser.parse_args().port), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(json.dumps({"port": server.server_port}), flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
