#!/usr/bin/env python3
"""A local stand-in for model providers: a real HTTP server that speaks the Anthropic Messages API, OpenAI's
chat completions and Amazon Bedrock's Converse, whole and streamed, and refuses what they refuse.

    chat_standin.py [--port N] [--tls PEM]...

Prints {"port": N, "tls_ports": [...]} on one line once it serves, and ends when its standard input ends. Each
PEM file has a key and a certificate, and gets a port of its own, whose connections are logged as requests for
the model "tls-connection". The model of a request
names the scenario to play, see SCENARIOS; the text that answers are made of comes from the request, so a
test can tell that the request arrived whole.

    POST /v1/messages            Anthropic; the key is ANTHROPIC_KEY
    POST /v1/chat/completions    OpenAI; the key is OPENAI_KEY
    POST /model/M/converse       Bedrock, and converse-stream; the keys are in bedrock.py
    GET  /log                    the requests so far: [{"path", "headers", "body", "events": [...]}]
    GET  /await?model=M&event=E&count=N   answers when N requests for M have seen E ("begun", "disconnected")
"""

import argparse
import http.server
import json
import select
import socket
import socketserver
import ssl
import sys
import threading
import typing
import urllib.parse
import zlib

import wire
from anthropic_api import ANTHROPIC_KEY, Anthropic
from bedrock import Bedrock
from openai_api import OPENAI_KEY, OpenAi
from refusal import Refused, require

Json = dict[str, typing.Any]
Headers = typing.Mapping[str, str]

AWAIT_SECONDS = 20.0


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
        converse = Bedrock.model_of(self.path)
        if converse is not None:
            provider = Bedrock
        if provider is None:
            self.send_json(404, {"error": {"message": f"no route {self.path}"}})
            return
        headers = {name.lower(): value for name, value in self.headers.items()}
        try:
            body = json.loads(raw)
        except ValueError:
            body = None
        if converse is not None and isinstance(body, dict):
            # Elsewhere in this protocol, but scenarios look for them here.
            body["model"], body["stream"] = converse
        entry, earlier = STATE.begin(self.path, headers, body)
        try:
            require(isinstance(body, dict), "the body is no JSON object")
            provider.check_request(self.path, headers, raw)
            provider.check_body(body)
            scenario = SCENARIOS.get(body.get("model", ""))
            if scenario is None:
                raise Refused(404, "not_found_error", f"model: {body.get('model')}")
            scenario(self, provider, body, earlier, entry)
        except Refused as refused:
            self.send_json(
                refused.status,
                provider.error(refused.kind, refused.message),
                provider.error_headers(refused.kind),
            )
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

    def send_answer(
        self, provider: "Provider", body: Json, answer: Json, headers: Headers | None = None
    ) -> None:
        """An answer, streamed if the request wants that."""
        if not body.get("stream"):
            self.send_json(200, answer, headers or {})
            return
        self.begin_stream(provider, headers)
        for event in provider.stream(body, answer):
            self.send_chunk(event)
        self.send_chunk(b"")

    def begin_stream(self, provider: "Provider", headers: Headers | None = None) -> None:
        """The head of a streamed answer."""
        self.send_response(200)
        for name, value in {**(headers or {}), "content-type": provider.STREAM_TYPE}.items():
            self.send_header(name, value)
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()

    def send_chunk(self, data: bytes) -> None:
        """A piece of a streamed answer; nothing ends it."""
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))

    def disconnected(self, seconds: float) -> bool:
        """Waits up to `seconds` for the client to close its connection."""
        readable, _, _ = select.select([self.connection], [], [], seconds)
        return bool(readable) and self.connection.recv(1) == b""


Provider = type[Anthropic] | type[OpenAi] | type[Bedrock]
Scenario = typing.Callable[[Handler, Provider, Json, int, Json], None]


def chat(handler: Handler, provider: Provider, body: Json, earlier: int, entry: Json) -> None:
    """Says back what the user said last."""
    text = "You said: " + provider.last_text(body)
    handler.send_answer(provider, body, provider.answer(body, text), provider.RATE_HEADERS)


def tools(handler: Handler, provider: Provider, body: Json, earlier: int, entry: Json) -> None:
    """Calls two tools at once, then says back their results."""
    offered = body.get("tools", []) or body.get("toolConfig", {}).get("tools", [])
    require(len(offered) == 2, "this scenario wants two tools")
    if any(message["role"] == "assistant" for message in body["messages"]):
        handler.send_answer(provider, body, provider.answer(body, "Results: " + provider.last_text(body)))
        return
    calls = [
        ("compile_kernel", {"source": "def f():\n  pass  # \u00e9\u4e2d\U0001f600", "grid": [2]}),
        ("verify_kernel", {}),
    ]
    handler.send_answer(provider, body, provider.answer(body, "I will compile it.", calls))


def broken_arguments(handler: Handler, provider: Provider, body: Json, earlier: int, entry: Json) -> None:
    """Calls a tool with broken JSON where the protocol lets it, and then wants to see it mended."""
    if any(message["role"] == "assistant" for message in body["messages"]):
        handler.send_answer(provider, body, provider.answer(body, "Fine."))
        return
    answer = provider.answer(body, "", [("compile_kernel", {})])
    provider.break_arguments(answer)
    handler.send_answer(provider, body, answer)


def ends(stop: str) -> Scenario:
    """An answer that ends in a certain way."""

    def scenario(handler: Handler, provider: Provider, body: Json, earlier: int, entry: Json) -> None:
        handler.send_answer(provider, body, provider.answer(body, "I can't", stop=stop))

    return scenario


def fails(times: int, headers: Json, pick: typing.Callable[[Provider], tuple[int, str, str]]) -> Scenario:
    """Fails so many times with an error body, then chats."""

    def scenario(handler: Handler, provider: Provider, body: Json, earlier: int, entry: Json) -> None:
        if earlier >= times:
            chat(handler, provider, body, earlier, entry)
            return
        status, kind, message = pick(provider)
        more = {**provider.RATE_HEADERS, **provider.error_headers(kind), **headers}
        handler.send_json(status, provider.error(kind, message), more)

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


GIGABYTE = 1 << 30
PIECE = 1 << 16


def gigabyte(handler: Handler, provider: Provider, body: Json, earlier: int, entry: Json) -> None:
    """Announces 1 GiB of JSON, and sends it."""
    handler.send_response(200)
    handler.send_header("content-type", "application/json")
    handler.send_header("content-length", str(GIGABYTE))
    handler.end_headers()
    handler.wfile.write(b'{"id":"' + b"x" * (PIECE - 7))
    for _ in range(GIGABYTE // PIECE - 1):
        handler.wfile.write(b"x" * PIECE)


def drip_headers(handler: Handler, provider: Provider, body: Json, earlier: int, entry: Json) -> None:
    """Sends a line of its head now and then, for ever."""
    handler.wfile.write(b"HTTP/1.1 200 OK\r\n")
    while not handler.disconnected(0.02):
        handler.wfile.write(b"x-wait: longer\r\n")
    raise BrokenPipeError


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


def breaks(rest: typing.Callable[[Handler, Provider, Json], None]) -> Scenario:
    """Begins to stream an answer, and goes on with something else after its first pieces of text."""

    def scenario(handler: Handler, provider: Provider, body: Json, earlier: int, entry: Json) -> None:
        require(bool(body.get("stream")), "this scenario is streamed")
        handler.begin_stream(provider, provider.RATE_HEADERS)
        for event in provider.stream(body, provider.answer(body, "Once upon a time " * 10))[:6]:
            handler.send_chunk(event)
        rest(handler, provider, entry)
        handler.close_connection = True

    return scenario


def hangs(handler: Handler, provider: Provider, entry: Json) -> None:
    """Says nothing more."""
    if handler.disconnected(60):
        STATE.event(entry, "disconnected")


def begins_event(handler: Handler, provider: Provider, entry: Json) -> None:
    """Begins an event and sends a byte of it now and then, for ever."""
    event = provider.begun_event()
    handler.send_chunk(event)
    for byte in b" " * 100000:
        handler.send_chunk(bytes([byte]))
        if handler.disconnected(0.02):
            raise BrokenPipeError


def huge_event(handler: Handler, provider: Provider, entry: Json) -> None:
    """Sends an event without end, as fast as it can."""
    if provider is Bedrock:
        prelude = (64 << 20).to_bytes(4, "big") + (16).to_bytes(4, "big")
        handler.send_chunk(prelude + zlib.crc32(prelude).to_bytes(4, "big"))
    else:
        handler.send_chunk(b"data: ")
    while True:
        handler.send_chunk(b"x" * 65536)


def gigabyte_of_pieces(handler: Handler, provider: Provider, entry: Json) -> None:
    """Goes on with 1 GiB of text, in events that are right."""
    piece = provider.text_event("x" * PIECE)
    for _ in range(GIGABYTE // PIECE):
        handler.send_chunk(piece)


def comments(handler: Handler, provider: Provider, entry: Json) -> None:
    """Sends nothing but signs of life, for ever."""
    if provider is Bedrock:  # its stream has no comments
        begins_event(handler, provider, entry)
    while not handler.disconnected(0.02):
        handler.send_chunk(b": still here\n\n")
    raise BrokenPipeError


def says_instead(text: bytes) -> typing.Callable[[Handler, Provider, Json], None]:
    """An event whose text, quotes included, is something else."""

    def rest(handler: Handler, provider: Provider, entry: Json) -> None:
        if provider is Bedrock:
            handler.send_chunk(wire.raw_event_stream("contentBlockDelta", b'{"delta": ' + text + b"}"))
        else:
            handler.send_chunk(provider.text_event("QQ").replace(b'"QQ"', text))

    return rest


def fails_first(handler: Handler, provider: Provider, body: Json, earlier: int, entry: Json) -> None:
    """The first stream begins with an error, the second is fine."""
    if earlier > 0:
        chat(handler, provider, body, earlier, entry)
        return
    handler.begin_stream(provider)
    handler.send_chunk(provider.error_event())
    handler.send_chunk(b"")


LONG_PIECE = "x" * 16384
LONG_PIECES = 2048


def long_answer(handler: Handler, provider: Provider, body: Json, earlier: int, entry: Json) -> None:
    """Streams 32 MiB, and notes when the reader lets it wait for longer than a reader who reads would."""
    events = provider.stream(body, provider.answer(body, "x"))
    at = next(i for i, event in enumerate(events) if b'"x"' in event)
    handler.begin_stream(provider)
    for event in events[: at + 1]:
        handler.send_chunk(event)
    piece = provider.text_event(LONG_PIECE)
    for _ in range(LONG_PIECES):
        if not select.select([], [handler.connection], [], 0.5)[1]:
            STATE.event(entry, "stalled")
        handler.send_chunk(piece)
    for event in events[at + 1 :]:
        handler.send_chunk(event)
    handler.send_chunk(b"")
    STATE.event(entry, "done")


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
    "bad-request": fails(10**9, {}, lambda p: p.TOO_LONG),
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
    "drip-headers": drip_headers,
    "gigabyte": gigabyte,
    "silent": silent,
    "silent-2": silent,
    "hangs-up": hangs_up,
    "cut-off": cut_off,
    "no-http": no_http,
    "stream-hangs": breaks(hangs),
    "stream-ends": breaks(lambda handler, provider, entry: handler.send_chunk(b"")),
    "stream-cut": breaks(lambda handler, provider, entry: None),
    "stream-error": breaks(lambda handler, provider, entry: handler.send_chunk(provider.error_event())),
    "stream-garbage": breaks(lambda handler, provider, entry: handler.send_chunk(provider.broken_event())),
    "stream-bad-utf8": breaks(
        lambda handler, provider, entry: handler.send_chunk(
            provider.text_event("QQ").replace(b"QQ", b"\xc3\x28") if provider is not Bedrock else b"\xff" * 64
        )
    ),
    "stream-drips": breaks(begins_event),
    "stream-huge": breaks(huge_event),
    "stream-gigabyte": breaks(gigabyte_of_pieces),
    "stream-comments": breaks(comments),
    "stream-nul": breaks(says_instead(b'"a\0b"')),
    "stream-deep-json": breaks(says_instead(b"[" * 200 + b"]" * 200)),
    "stream-fails-first": fails_first,
    "long": long_answer,
}


class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    """One thread for each connection."""

    daemon_threads = True
    request_queue_size = 1024

    def handle_error(self, request: typing.Any, client_address: typing.Any) -> None:
        """Clients that leave are part of the tests."""


class TlsServer(Server):
    """The same behind TLS."""

    def __init__(self, pem: str) -> None:
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(pem)
        super().__init__(("127.0.0.1", 0), Handler)

    def finish_request(self, request: typing.Any, client_address: typing.Any) -> None:
        """One connection, on its own thread."""
        assert isinstance(request, socket.socket)
        STATE.begin("", {}, {"model": "tls-connection"})
        try:
            connection = self.context.wrap_socket(request, server_side=True)
        except OSError:
            return
        with connection:
            super().finish_request(connection, client_address)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="A stand-in for model providers.")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--tls", action="append", default=[], metavar="PEM")
    options = parser.parse_args()
    servers = [Server(("127.0.0.1", options.port), Handler), *(TlsServer(pem) for pem in options.tls)]
    for server in servers:
        threading.Thread(target=server.serve_forever, daemon=True).start()
    port, *tls_ports = (server.server_port for server in servers)
    print(json.dumps({"port": port, "tls_ports": tls_ports}), flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
