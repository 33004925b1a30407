"""The protocol of Amazon Bedrock's Converse and ConverseStream, for the stand-in."""

import hmac
import json
import typing
import urllib.parse

import wire
from refusal import Refused, require

Json = dict[str, typing.Any]

ACCESS_KEY_ID = "AKIDSTANDIN000000000"
SECRET_ACCESS_KEY = "standin/secret+0123456789abcdefghijklmn"
REGION = "us-west-2"
THINKING_SIGNATURE = "c2lnbmF0dXJl+/=="
REDACTED_DATA = "b3BhcXVl+/=="


class Bedrock:
    """https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html"""

    FIELDS = {"messages", "system", "inferenceConfig", "toolConfig", "additionalModelRequestFields"}

    @staticmethod
    def model_of(path: str) -> tuple[str, bool] | None:
        """Model id, and whether the answer is to be streamed; None for another path."""
        parts = path.split("/")
        if len(parts) != 4 or parts[1] != "model" or parts[3] not in ("converse", "converse-stream"):
            return None
        return urllib.parse.unquote(parts[2]), parts[3] == "converse-stream"

    @staticmethod
    def check_request(path: str, headers: Json, raw: bytes) -> None:
        """The signature, as the service checks it."""
        claimed = headers.get("authorization", "")
        scope = f"Credential={ACCESS_KEY_ID}/"
        if not claimed.startswith("AWS4-HMAC-SHA256 ") or scope not in claimed:
            raise Refused(403, "UnrecognizedClientException", "The security token in the request is invalid.")
        require(f"/{REGION}/bedrock/aws4_request" in claimed, "Credential should be scoped to a valid region")
        require("host" in claimed and "x-amz-date" in claimed, "'Host' must be a 'SignedHeader'")
        expected = wire.signature_of("POST", path, headers, raw, SECRET_ACCESS_KEY)
        if not hmac.compare_digest(expected, wire.claimed_signature(headers)):
            raise Refused(
                403,
                "InvalidSignatureException",
                "The request signature we calculated does not match the signature you provided.",
            )

    @classmethod
    def check_body(cls, body: Json) -> None:
        """The rules whose breach the real API answers with a ValidationException."""
        unknown = set(body) - cls.FIELDS - {"model", "stream"}
        require(not unknown, f"extraneous key {sorted(unknown)} is not permitted")
        require(isinstance(body.get("messages"), list) and body["messages"], "messages must not be empty")
        require(body["messages"][0]["role"] == "user", "A conversation must start with a user message.")
        blocks = [block for message in body["messages"] for block in message["content"]]
        uses_tools = any("toolUse" in block or "toolResult" in block for block in blocks)
        require(
            not uses_tools or "toolConfig" in body,
            "The toolConfig field must be defined when using toolUse and toolResult content blocks.",
        )
        config = body.get("toolConfig", {})
        points = sum("cachePoint" in b for b in [*blocks, *body.get("system", []), *config.get("tools", [])])
        require(points <= 4, f"A maximum of 4 cachePoint blocks may be provided. Found {points}.")
        open_calls: set[str] = set()
        for message in body["messages"]:
            require(bool(message["content"]), "The content field in the Message object is empty.")
            results = {b["toolResult"]["toolUseId"] for b in message["content"] if "toolResult" in b}
            require(open_calls == results, "toolResult blocks must match the toolUse blocks before them")
            for block in message["content"]:
                cls.check_block(block)
            open_calls = {b["toolUse"]["toolUseId"] for b in message["content"] if "toolUse" in b}
        for tool in config.get("tools", []):
            spec = tool.get("toolSpec")
            require("cachePoint" in tool or spec["inputSchema"]["json"]["type"] == "object", "type: object")

    @staticmethod
    def check_block(block: Json) -> None:
        """One content block, which is a union."""
        require(len(block) == 1, "a content block has exactly one member")
        if "text" in block:
            require(block["text"] != "", "The text field in the ContentBlock object is blank.")
        if "toolUse" in block:
            require(isinstance(block["toolUse"]["input"], dict), "toolUse.input must be an object")
        if "reasoningContent" in block:
            reasoning = block["reasoningContent"]
            expected = {"reasoningText": {"text": "Let me think.", "signature": THINKING_SIGNATURE}}
            redacted = {"redactedContent": REDACTED_DATA}
            require(reasoning in (expected, redacted), "reasoningContent blocks cannot be modified")

    @staticmethod
    def last_text(body: Json) -> str:
        """What the user said last: text and tool results."""
        texts = []
        for block in body["messages"][-1]["content"]:
            if "text" in block:
                texts.append(block["text"])
            if "toolResult" in block:
                texts += [part["text"] for part in block["toolResult"]["content"]]
        return " ".join(texts)

    @staticmethod
    def answer(body: Json, text: str = "", calls: list[tuple[str, Json]] = (), stop: str = "") -> Json:
        """A message. With calls it also thinks, in the open and not."""
        turn = sum(1 for m in body["messages"] if m["role"] == "assistant")
        content: list[Json] = []
        if calls:
            thought = {"text": "Let me think.", "signature": THINKING_SIGNATURE}
            content.append({"reasoningContent": {"reasoningText": thought}})
            content.append({"reasoningContent": {"redactedContent": REDACTED_DATA}})
        if text:
            content.append({"text": text})
        for i, (name, arguments) in enumerate(calls):
            use = {"toolUseId": f"tooluse_{turn}_{i}", "name": name, "input": arguments}
            content.append({"toolUse": use})
        ends = {"length": "max_tokens", "refusal": "guardrail_intervened"}
        return {
            "output": {"message": {"role": "assistant", "content": content}},
            "stopReason": ends.get(stop, "tool_use" if calls else "end_turn"),
            "usage": {
                "inputTokens": 100,
                "outputTokens": 20,
                "totalTokens": 120,
                "cacheReadInputTokens": 300,
                "cacheWriteInputTokens": 40,
            },
            "metrics": {"latencyMs": 1},
        }

    @staticmethod
    def break_arguments(answer: Json) -> None:
        """Makes the arguments of the last call no object."""
        answer["output"]["message"]["content"][-1]["toolUse"]["input"] = "def"

    @classmethod
    def stream(cls, body: Json, answer: Json) -> list[bytes]:
        """The messages of a streamed answer."""
        out = [wire.event_stream("messageStart", {"role": "assistant"})]
        for index, block in enumerate(answer["output"]["message"]["content"]):
            for kind, delta in cls._deltas(block):
                name = {"start": "contentBlockStart", "delta": "contentBlockDelta"}[kind]
                out.append(wire.event_stream(name, {kind: delta, "contentBlockIndex": index}))
            out.append(wire.event_stream("contentBlockStop", {"contentBlockIndex": index}))
        out.append(wire.event_stream("messageStop", {"stopReason": answer["stopReason"]}))
        metadata = {"usage": answer["usage"], "metrics": answer["metrics"]}
        return [*out, wire.event_stream("metadata", metadata)]

    @staticmethod
    def _deltas(block: Json) -> list[tuple[str, Json]]:
        if "text" in block:
            return [("delta", {"text": piece}) for piece in wire.pieces(block["text"])]
        if "toolUse" in block:
            use = block["toolUse"]
            start = {"toolUse": {"toolUseId": use["toolUseId"], "name": use["name"]}}
            text = json.dumps(use["input"]) if use["input"] != {} else ""
            return [
                ("start", start),
                *(("delta", {"toolUse": {"input": piece}}) for piece in wire.pieces(text)),
            ]
        reasoning = block["reasoningContent"]
        if "redactedContent" in reasoning:
            return [("delta", {"reasoningContent": reasoning})]
        thought = reasoning["reasoningText"]
        deltas = [("delta", {"reasoningContent": {"text": piece}}) for piece in wire.pieces(thought["text"])]
        return [*deltas, ("delta", {"reasoningContent": {"signature": thought["signature"]}})]

    @staticmethod
    def text_event(text: str) -> bytes:
        """One more piece of the first block's text."""
        return wire.event_stream("contentBlockDelta", {"delta": {"text": text}, "contentBlockIndex": 0})

    @staticmethod
    def error_event() -> bytes:
        """An error in mid-stream."""
        return wire.event_stream("throttlingException", {"message": "Too many requests"}, kind="exception")

    @staticmethod
    def broken_event() -> bytes:
        """A message that differs from its checksum."""
        message = bytearray(Bedrock.text_event("broken"))
        message[-8] ^= 1
        return bytes(message)

    @staticmethod
    def begun_event() -> bytes:
        """The beginning of a message that never ends."""
        return Bedrock.text_event("x" * 4096)[:2048]

    @staticmethod
    def error(kind: str, message: str) -> Json:
        """An error body; its type is in a header."""
        return {"message": message}

    @staticmethod
    def error_headers(kind: str) -> Json:
        """What stands beside an error body."""
        return {"x-amzn-errortype": f"{kind}:http://internal.amazon.com/coral/com.amazon.bedrock/"}

    STREAM_TYPE = "application/vnd.amazon.eventstream"
    RATE_HEADERS = {"x-amzn-requestid": "req_standin"}
    TOO_LONG = (400, "ValidationException", "Input is too long, prompt is too long: 9 > 8")
    OVERLOADED = (503, "ServiceUnavailableException", "The service is temporarily unavailable")
    RATE_LIMITED = (429, "ThrottlingException", "Too many requests: rate limit exceeded")
