"""The protocol of the Anthropic Messages API, for the stand-in."""

import json
import typing

import wire
from refusal import Refused, require

Json = dict[str, typing.Any]

ANTHROPIC_KEY = "sk-ant-standin-0123456789"
THINKING_SIGNATURE = "c2lnbmF0dXJl+/=="
REDACTED_DATA = "b3BhcXVl+/=="


class Anthropic:
    """The protocol of https://docs.anthropic.com/en/api/messages."""

    FIELDS = {
        "model", "messages", "max_tokens", "system", "tools", "tool_choice", "temperature", "top_p", "top_k",
        "stop_sequences", "stream", "metadata", "thinking", "service_tier",
    }  # fmt: skip

    @staticmethod
    def check_request(path: str, headers: Json, raw: bytes) -> None:
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
    def break_arguments(answer: Json) -> None:
        """Makes the arguments of the last call no object."""
        answer["content"][-1]["input"] = "def"

    @classmethod
    def stream(cls, body: Json, answer: Json) -> list[bytes]:
        """The events of a streamed answer, https://docs.anthropic.com/en/docs/build-with-claude/streaming."""

        def event(kind: str, **fields: typing.Any) -> bytes:
            return wire.sse({"type": kind, **fields}, kind)

        usage = {**answer["usage"], "output_tokens": 1}
        start = {**answer, "content": [], "stop_reason": None, "usage": usage}
        out = [event("message_start", message=start), event("ping"), b": a comment\r\n\r\n"]
        for index, block in enumerate(answer["content"]):
            first, deltas = cls._deltas(block)
            out.append(event("content_block_start", index=index, content_block=first))
            out += [event("content_block_delta", index=index, delta=delta) for delta in deltas]
            out.append(event("content_block_stop", index=index))
        end = {"stop_reason": answer["stop_reason"], "stop_sequence": None}
        tokens = {"output_tokens": answer["usage"]["output_tokens"]}
        return [*out, event("message_delta", delta=end, usage=tokens), event("message_stop")]

    @staticmethod
    def _deltas(block: Json) -> tuple[Json, list[Json]]:
        """What a block begins with, and what is added to it."""
        kind = block["type"]
        if kind == "text":
            return {"type": "text", "text": ""}, [
                {"type": "text_delta", "text": piece} for piece in wire.pieces(block["text"])
            ]
        if kind == "tool_use":
            text = json.dumps(block["input"]) if block["input"] != {} else ""
            deltas = [
                {"type": "input_json_delta", "partial_json": piece} for piece in ["", *wire.pieces(text)]
            ]
            return {**block, "input": {}}, deltas
        if kind == "thinking":
            deltas = [{"type": "thinking_delta", "thinking": p} for p in wire.pieces(block["thinking"])]
            signature = {"type": "signature_delta", "signature": block["signature"]}
            return {"type": "thinking", "thinking": "", "signature": ""}, [*deltas, signature]
        return block, []

    @staticmethod
    def text_event(text: str) -> bytes:
        """One more piece of the first block's text."""
        delta = {"type": "text_delta", "text": text}
        return wire.sse({"type": "content_block_delta", "index": 0, "delta": delta}, "content_block_delta")

    @staticmethod
    def error_event() -> bytes:
        """An error in mid-stream."""
        return wire.sse(Anthropic.error("overloaded_error", "Overloaded"), "error")

    @staticmethod
    def broken_event() -> bytes:
        """An event that is no JSON."""
        return wire.sse('{"type": "content_block_delta", "ind')

    @staticmethod
    def begun_event() -> bytes:
        """The beginning of an event that never ends."""
        return b"data: {"

    @staticmethod
    def error_headers(kind: str) -> Json:
        """What stands beside an error body."""
        return {}

    STREAM_TYPE = "text/event-stream; charset=utf-8"

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
    TOO_LONG = (400, "invalid_request_error", "prompt is too long: 9 > 8")
    OVERLOADED = (529, "overloaded_error", "Overloaded")
    RATE_LIMITED = (429, "rate_limit_error", "Number of requests has exceeded your rate limit")
