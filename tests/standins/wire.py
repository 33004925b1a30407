"""What the stand-in puts on the wire for streamed answers: server-sent events, AWS's event stream, and the
check of AWS's signature version 4, each written from its published description and from nothing else here.
"""

import hashlib
import hmac
import json
import struct
import typing
import urllib.parse
import zlib

Json = dict[str, typing.Any]


def sse(data: typing.Any, event: str = "") -> bytes:
    """One server-sent event; a text goes out as it is, anything else as JSON."""
    text = data if isinstance(data, str) else json.dumps(data)
    return (f"event: {event}\n" if event else "").encode() + f"data: {text}\n\n".encode()


def event_stream(event: str, payload: Json, kind: str = "event") -> bytes:
    """One message of application/vnd.amazon.eventstream."""
    return raw_event_stream(event, json.dumps(payload).encode(), kind)


def raw_event_stream(event: str, body: bytes, kind: str = "event") -> bytes:
    """The same with a payload that need not be JSON."""
    headers = b""
    name = {"event": ":event-type", "exception": ":exception-type"}[kind]
    for key, value in ((":message-type", kind), (name, event), (":content-type", "application/json")):
        headers += bytes([len(key)]) + key.encode() + b"\x07" + struct.pack(">H", len(value)) + value.encode()
    prelude = struct.pack(">II", 12 + len(headers) + len(body) + 4, len(headers))
    message = prelude + struct.pack(">I", zlib.crc32(prelude)) + headers + body
    return message + struct.pack(">I", zlib.crc32(message))


def pieces(text: str, size: int = 7) -> list[str]:
    """A text in small pieces."""
    return [text[i : i + size] for i in range(0, len(text), size)]


def _hmac(key: bytes, text: str) -> bytes:
    return hmac.new(key, text.encode(), hashlib.sha256).digest()


def signature_of(method: str, path: str, headers: Json, body: bytes, secret: str) -> str:
    """The signature that the request should carry, from what its own Authorization header claims to sign."""
    fields = dict(
        part.strip().split("=", 1) for part in headers["authorization"].partition(" ")[2].split(",")
    )
    _, date, region, service, _ = fields["Credential"].split("/")
    names = fields["SignedHeaders"].split(";")
    canonical = "\n".join(
        [
            method,
            urllib.parse.quote(path, safe="/-_.~"),
            "",
            *(f"{name}:{' '.join(headers[name].split())}" for name in names),
            "",
            fields["SignedHeaders"],
            hashlib.sha256(body).hexdigest(),
        ]
    )
    scope = f"{date}/{region}/{service}/aws4_request"
    to_sign = "\n".join(
        [
            "AWS4-HMAC-SHA256",
            headers["x-amz-date"],
            scope,
            hashlib.sha256(canonical.encode()).hexdigest(),
        ]
    )
    key = f"AWS4{secret}".encode()
    for part in (date, region, service, "aws4_request"):
        key = _hmac(key, part)
    return hmac.new(key, to_sign.encode(), hashlib.sha256).hexdigest()


def claimed_signature(headers: Json) -> str:
    """The signature that a request carries; empty if there is none."""
    return headers.get("authorization", "").rpartition("Signature=")[2]
