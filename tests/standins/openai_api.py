"""The protocol of OpenAI's chat completions, as vLLM speaks it too, for the stand-in."""

import json
import typing

import wire
from refusal import Refused, require

Json = dict[str, typing.Any]

OPENAI_KEY = "sk-standin-9876543210"


class OpenAi:
    """The protocol of https://platform.openai.com/docs/api-reference/chat."""

    @staticmethod
    def check_request(path: str, headers: Json, raw: bytes) -> None:
        """The key."""
        if headers.get("authorization") != f"Bearer {OPENAI_KEY}":
            raise Refused(401, "invalid_request_error", "Incorrect API key provided")

    @staticmethod
    def check_body(body: Json) -> None:
        """The rules whose breach real servers answer with status 400."""
        require(isinstance(body.get("messages"), list) and body["messages"], "[] is too short - 'messages'")
        require(1 <= body.get("n", 1) <= 128, "n must be between 1 and 128")
        require("top_logprobs" not in body or body.get("logprobs") is True, "logprobs must be set to true")
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
            "choices": [
                {
                    "index": index,
                    "message": {**message, "content": f"{text} #{index}"} if index else message,
                    "finish_reason": reason,
                    "logprobs": OpenAi.logprobs(text, body["top_logprobs"])
                    if "top_logprobs" in body
                    else None,
                }
                for index in range(body.get("n", 1))
            ],
            "usage": usage,
        }

    @staticmethod
    def logprobs(text: str, top: int) -> Json:
        """Every piece a token, each as likely as the next."""
        likely = [{"token": f"t{i}", "logprob": -0.5 - i, "bytes": None} for i in range(top)]
        return {
            "content": [
                {"token": piece, "logprob": -0.25, "bytes": None, "top_logprobs": likely}
                for piece in wire.pieces(text)
            ]
        }

    @staticmethod
    def break_arguments(answer: Json) -> None:
        """Breaks the arguments of the last call, and leaves out its id."""
        call = answer["choices"][0]["message"]["tool_calls"][0]
        call["function"]["arguments"] = '{"source": "def'
        del call["id"]

    @staticmethod
    def stream(body: Json, answer: Json) -> list[bytes]:
        """The chunks of a streamed answer."""
        head = {key: answer[key] for key in ("id", "created", "model")}
        usage = {"usage": None} if body.get("stream_options", {}).get("include_usage") else {}

        def chunk(delta: Json, reason: str | None = None, logprobs: Json | None = None) -> bytes:
            choice = {"index": 0, "delta": delta, "finish_reason": reason, "logprobs": logprobs}
            return wire.sse({**head, "object": "chat.completion.chunk", "choices": [choice], **usage})

        message = answer["choices"][0]["message"]
        out = [chunk({"role": "assistant", "content": ""})]
        out += [chunk({"reasoning_content": p}) for p in wire.pieces(message.get("reasoning_content", ""))]
        logprobs = (answer["choices"][0]["logprobs"] or {}).get("content")
        for i, piece in enumerate(wire.pieces(message["content"] or "")):
            out.append(
                chunk({"content": piece}, None, {"content": logprobs[i : i + 1]} if logprobs else None)
            )
        for index, call in enumerate(message.get("tool_calls", [])):
            function = call["function"]
            first = {**call, "index": index, "function": {"name": function["name"], "arguments": ""}}
            out.append(chunk({"tool_calls": [first]}))
            for piece in wire.pieces(function["arguments"]):
                out.append(chunk({"tool_calls": [{"index": index, "function": {"arguments": piece}}]}))
        out.append(chunk({}, answer["choices"][0]["finish_reason"]))
        if usage:
            out.append(wire.sse({**head, "choices": [], "usage": answer["usage"]}))
        return [*out, wire.sse("[DONE]")]

    @staticmethod
    def text_event(text: str) -> bytes:
        """One more piece of text."""
        return wire.sse({"id": "chatcmpl-0", "choices": [{"index": 0, "delta": {"content": text}}]})

    @staticmethod
    def error_event() -> bytes:
        """An error in mid-stream, as vLLM sends it."""
        return wire.sse({"error": {"message": "Overloaded", "type": "server_error", "code": 503}})

    @staticmethod
    def broken_event() -> bytes:
        """An event that is no JSON."""
        return wire.sse('{"choices": [{"ind')

    @staticmethod
    def begun_event() -> bytes:
        """The beginning of an event that never ends."""
        return b"data: {"

    @staticmethod
    def error_headers(kind: str) -> Json:
        """What stands beside an error body."""
        return {}

    STREAM_TYPE = "text/event-stream"

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
    TOO_LONG = (
        400,
        "invalid_request_error",
        "This model's maximum context length is 8 tokens; the prompt is too long: 9 > 8",
    )
    OVERLOADED = (503, "server_error", "The engine is currently overloaded, please try again later")
    RATE_LIMITED = (429, "rate_limit_exceeded", "Rate limit reached for requests")
