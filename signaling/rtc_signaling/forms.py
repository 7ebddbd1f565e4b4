"""The two request bodies of `POST /v1/realtime/calls`. Pure."""

import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Body:
    """A request body and its media type."""

    content_type: str
    content: bytes = field(repr=False)  # an offer holds the ICE password


def sdp_body(offer_sdp: str) -> Body:
    """The raw form: the session is bound to the key, or follows over the data channel."""
    return Body("application/sdp", offer_sdp.encode())


def multipart_body(offer_sdp: str, session: Mapping[str, object]) -> Body:
    """The form with parts `sdp` and `session`, neither with a file name (RFC 7578; facts of the service).

    `session` travels with `type` and `model` first; `type` is "realtime" unless given. ValueError if a
    realtime session names no model or a field is not JSON.
    """
    session = {"type": "realtime", **session}
    if session["type"] == "realtime" and not session.get("model"):
        raise ValueError("the session names no model, and a multipart request must")
    first = {name: session[name] for name in ("type", "model") if name in session}
    boundary = f"rtc-{secrets.token_hex(16)}"
    parts = (
        ("sdp", "application/sdp", offer_sdp.encode()),
        ("session", "application/json", encode_json(first | session)),
    )
    content = b"".join(
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n'
        f"Content-Type: {media_type}\r\n\r\n".encode()
        + data
        + b"\r\n"
        for name, media_type, data in parts
    )
    return Body(f"multipart/form-data; boundary={boundary}", content + f"--{boundary}--\r\n".encode())


def json_body(value: Mapping[str, object]) -> Body:
    """A JSON body."""
    return Body("application/json", encode_json(value))


def encode_json(value: Mapping[str, object]) -> bytes:
    """Compact UTF-8 JSON. ValueError for what JSON cannot say (sets, NaN, lone surrogates)."""
    try:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()
    except TypeError as error:
        raise ValueError(f"the session cannot be written as JSON: {error}") from error
