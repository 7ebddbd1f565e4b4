"""Builders of client events: what an application says, as the objects that go on the wire."""

import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from typing import Any

APPEND_LIMIT_BYTES = 16 * 1024
"""The largest `input_audio_buffer.append`, so that an urgent event waits for at most that much."""

_ROLES = ("user", "system", "assistant")
_SAMPLE_BYTES = {"audio/pcm": 2, "audio/pcmu": 1, "audio/pcma": 1}


def message_event(
    message: str | Mapping[str, Any] | Sequence[Mapping[str, Any]],
    other_event_data: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """`conversation.item.create` of a message: text, a list of parts, or an object with `role` and `content`.

    `other_event_data` is merged into the event. Raises ValueError for what is no message.
    """
    role: Any = "user"
    content: Any = message
    if isinstance(message, Mapping):
        role, content = message.get("role", "user"), message.get("content")
        if role not in _ROLES:
            raise ValueError(f"a message's role is one of {', '.join(_ROLES)}, not {role!r}")
    if isinstance(content, str):
        content = [{"type": "output_text" if role == "assistant" else "input_text", "text": content}]
    if not isinstance(content, Sequence) or not content:
        raise ValueError(
            "a message is text, a list of content parts that is not empty, or an object with such content"
        )
    item = {"type": "message", "role": role, "content": [_part(each) for each in content]}
    other = dict(other_event_data or {})
    if other.get("type", "conversation.item.create") != "conversation.item.create":
        raise ValueError("other_event_data cannot change the event's type")
    return {"type": "conversation.item.create", "item": item, **other}


def _part(part: Any) -> dict[str, Any]:
    if not isinstance(part, Mapping) or not isinstance(part.get("type"), str):
        raise ValueError("a content part is an object with a `type`, such as input_text or input_image")
    built = dict(part)
    if built["type"] == "input_image":
        if "image" in built:  # the word of the Agents SDK
            built["image_url"] = built.pop("image")
        if not isinstance(built.get("image_url"), str) or not built["image_url"]:
            raise ValueError("an input_image part needs an `image_url`: an address or a data URL")
    return built


def image_event(image: str) -> dict[str, Any]:
    """`conversation.item.create` of a user message with one image, an address or a data URL."""
    return message_event([{"type": "input_image", "image_url": image}])


def function_output_event(call_id: str, output: str) -> dict[str, Any]:
    """`conversation.item.create` of the answer to a function call."""
    if not call_id or not isinstance(output, str):
        raise ValueError("a function's output is text and names the call: json.dumps() what is no text")
    return _create({"type": "function_call_output", "call_id": call_id, "output": output})


def mcp_response_event(item_id: str, request_id: str, approved: bool, reason: str | None) -> dict[str, Any]:
    """`conversation.item.create` of the answer to an MCP approval request, right behind that request."""
    item = {
        "type": "mcp_approval_response",
        "id": item_id,
        "approval_request_id": request_id,
        "approve": approved,
    }
    return {**_create(item if reason is None else {**item, "reason": reason}), "previous_item_id": request_id}


def sample_bytes(session: Mapping[str, Any]) -> int:
    """Bytes of one sample in a session's input format; 16-bit PCM if it names none."""
    node: Any = session
    for key in ("audio", "input", "format", "type"):
        node = node.get(key) if isinstance(node, Mapping) else None
    return _SAMPLE_BYTES.get(node, 1) if isinstance(node, str) else 2


def append_events(audio: bytes, other: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
    """`input_audio_buffer.append` events for `audio`, each at most `APPEND_LIMIT_BYTES` of JSON.

    Cut between 16-bit samples. `other` fields are carried by each event.
    """
    frame = {**(other or {}), "type": "input_audio_buffer.append", "audio": ""}
    room = APPEND_LIMIT_BYTES - len(json.dumps(frame, separators=(",", ":")))
    step = max(room // 8 * 6, 6)  # 8 characters of base64 are 6 bytes: 3 whole samples and no padding
    return [
        {**frame, "audio": base64.b64encode(audio[start : start + step]).decode()}
        for start in range(0, len(audio), step)
    ]


def split_append(event: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A raw `input_audio_buffer.append`, cut as `append_events` does; untouched where that is not needed.

    What is no base64 is left for the service to refuse.
    """
    audio = event.get("audio")
    if not isinstance(audio, str) or len(audio) < APPEND_LIMIT_BYTES // 2:
        return [dict(event)]
    try:
        decoded = base64.b64decode(audio, validate=True)
    except (binascii.Error, ValueError):
        return [dict(event)]
    return append_events(decoded, event)


def _create(item: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "conversation.item.create", "item": dict(item)}
