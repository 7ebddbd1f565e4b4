"""The conversation as the server keeps it: items in order, with what the wire never shows, their sound. Pure."""

import copy
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .formats import decode_pcm16
from .problems import (
    Check,
    EventError,
    anything,
    check_id,
    fields,
    list_of,
    nullable,
    of_type,
    one_of,
    optional,
    required,
)
from .vad import RATE_HZ

Mono = NDArray[np.float32]
Json = dict[str, Any]

ROOT = "root"
"""As ``previous_item_id``: in front of everything."""
MAX_CONVERSATION_BYTES = 64 << 20

_CONTENT_KINDS = {
    "system": ("input_text",),
    "user": ("input_text", "input_audio", "input_image"),
    "assistant": ("output_text",),
}
_text = nullable(of_type(str))
_PART = fields(
    type=of_type(str),
    text=_text,
    audio=_text,
    transcript=_text,
    image_url=_text,
    detail=nullable(one_of("auto", "low", "high")),
)


@dataclass(eq=False)
class Item:
    """One item: its wire object and how much sound it has."""

    data: Json
    audio_ms: int = 0
    pcm: Mono | None = field(default=None, repr=False)
    """The user's sound, kept for the newest utterance only."""
    size: int = 0

    @property
    def id(self) -> str:
        """The item's id."""
        return str(self.data["id"])

    def text(self) -> str | None:
        """What is written or known to be said in it, or the output of a tool; None without any."""
        if self.data["type"] == "function_call_output":
            return str(self.data["output"])
        parts = [part.get("text") or part.get("transcript") for part in self.data.get("content", ())]
        known = [part for part in parts if part]
        return " ".join(known) if known else None


class Conversation:
    """Items by id, in order; `id` is the conversation's own."""

    def __init__(self, conversation_id: str) -> None:
        self.id = conversation_id
        self._items: list[Item] = []
        self._size = 0

    def __iter__(self) -> Iterator[Item]:
        return iter(self._items)

    @property
    def last_id(self) -> str | None:
        """The id of the newest item in place."""
        return self._items[-1].id if self._items else None

    def before(self, item: Item) -> str | None:
        """The id of the item in front of `item`, which is in the conversation."""
        index = self._items.index(item)
        return self._items[index - 1].id if index else None

    def find(self, item_id: str) -> Item | None:
        """The item, or None."""
        return next((item for item in self._items if item.id == item_id), None)

    def get(self, item_id: str, action: str) -> Item:
        """The item; raises EventError with the code of that action (retrieve, delete, truncate)."""
        item = self.find(item_id)
        if item is None:
            raise EventError(
                f"item_{action}_invalid_item_id",
                f"Error with item {action}: the item with id '{item_id}' does not exist.",
                "item_id",
            )
        return item

    def check_room(self, item: Item) -> None:
        """Raises EventError if a client must not add so much."""
        if self._size + len(json.dumps(item.data)) > MAX_CONVERSATION_BYTES:
            raise EventError("conversation_too_large", "The conversation holds no more items: delete some.")

    def add(self, item: Item, previous_item_id: str | None = None) -> str | None:
        """Puts `item` behind another, in front (``root``) or at the end (None); the id it now stands behind."""
        item.size = len(json.dumps(item.data))
        if self.find(item.id) is not None:
            raise EventError("item_id_already_exists", f"Item with id '{item.id}' already exists.", "item.id")
        position = self._position(previous_item_id)
        if item.pcm is not None:
            for other in self._items:
                other.pcm = None
        self._items.insert(position, item)
        self._size += item.size
        return self._items[position - 1].id if position else None

    def delete(self, item_id: str) -> None:
        """Removes the item; raises EventError if there is none."""
        item = self.get(item_id, "delete")
        self._items.remove(item)
        self._size -= item.size

    def truncate(self, item_id: str, content_index: int, audio_end_ms: int) -> None:
        """Cuts the sound of an assistant message and removes its transcript: what was not heard is not in the context.

        Raises EventError for anything else, and if there is less sound than that.
        """
        item = self.get(item_id, "truncate")
        content = item.data.get("content", [])
        spoken = content_index < len(content) and content[content_index].get("type") == "output_audio"
        if item.data.get("role") != "assistant" or not spoken:
            raise EventError(
                "invalid_value", "Only audio content of assistant messages can be truncated.", "content_index"
            )
        if audio_end_ms > item.audio_ms:
            raise EventError(
                "invalid_value",
                f"Audio content of {item.audio_ms}ms is already shorter than {audio_end_ms}ms",
                "audio_end_ms",
            )
        item.audio_ms = audio_end_ms
        content[content_index].pop("transcript", None)

    def _position(self, previous_item_id: str | None) -> int:
        if previous_item_id is None:
            return len(self._items)
        if previous_item_id == ROOT:
            return 0
        for index, item in enumerate(self._items):
            if item.id == previous_item_id:
                return index + 1
        raise EventError(
            "item_create_invalid_item_id",
            f"Error adding item: the previous item with id '{previous_item_id}' does not exist.",
            "previous_item_id",
        )


def client_item(data: Json, conversation: Conversation, new_id: Callable[[str], str]) -> Item:
    """The item a client gave, checked and completed; raises EventError for what the service refuses."""
    kind = required(data, "type", str, "item")
    one_of(*_KINDS)(kind, "item.type")
    check, known = _KINDS[kind]
    known(data, "item")
    item_id = optional(data, "id", str, "item")
    given = {key: copy.deepcopy(value) for key, value in data.items() if value is not None}
    wire = {**given, "id": new_id("item") if item_id is None else check_id(item_id, "item.id")}
    item = Item(wire)
    check(item, conversation)
    if not kind.startswith("mcp_"):
        wire["object"] = "realtime.item"
        wire.setdefault("status", "completed")
    return item


def _message(item: Item, conversation: Conversation) -> None:
    role = required(item.data, "role", str, "item")
    one_of(*_CONTENT_KINDS)(role, "item.role")
    content = required(item.data, "content", list, "item")
    sounds = [_part(part, role, f"item.content[{i}]") for i, part in enumerate(content)]
    heard = [pcm for pcm in sounds if pcm is not None]
    if heard:
        item.pcm = np.concatenate(heard)
        item.audio_ms = len(item.pcm) * 1000 // RATE_HZ


def _part(part: Any, role: str, path: str) -> Mono | None:
    _PART(part, path)
    kind = required(part, "type", str, path)
    if kind == "output_audio" and role == "assistant":
        raise EventError("invalid_value", "Assistant messages with audio cannot be created.", f"{path}.type")
    one_of(*_CONTENT_KINDS[role])(kind, f"{path}.type")
    if kind == "input_image":
        url = required(part, "image_url", str, path)
        if not url.startswith(("data:image/", "https://", "http://")):
            raise EventError(
                "invalid_value",
                f"Invalid '{path}.image_url': expected a URL or a data URL of an image.",
                path,
            )
        return None
    if kind == "input_audio":
        pcm = decode_pcm16(required(part, "audio", str, path), f"{path}.audio")
        del part["audio"]  # the service does not send the sound back
        return pcm
    required(part, "text", str, path)
    return None


def _function_call(item: Item, conversation: Conversation) -> None:
    required(item.data, "name", str, "item")
    required(item.data, "arguments", str, "item")


def _function_call_output(item: Item, conversation: Conversation) -> None:
    call_id = required(item.data, "call_id", str, "item")
    required(item.data, "output", str, "item")
    calls = (i for i in conversation if i.data["type"] == "function_call")
    if not any(call.data.get("call_id") == call_id for call in calls):
        raise EventError(
            "invalid_tool_call_id", f"Tool call ID '{call_id}' not found in conversation.", "item.call_id"
        )


def _mcp_approval_response(item: Item, conversation: Conversation) -> None:
    request_id = required(item.data, "approval_request_id", str, "item")
    required(item.data, "approve", bool, "item")
    request = conversation.find(request_id)
    if request is None or request.data["type"] != "mcp_approval_request":
        raise EventError(
            "invalid_approval_request_id",
            f"Approval request '{request_id}' not found in conversation.",
            "item.approval_request_id",
        )


def _mcp_call(item: Item, conversation: Conversation) -> None:
    for key in ("server_label", "name", "arguments"):
        required(item.data, key, str, "item")


def _mcp_list_tools(item: Item, conversation: Conversation) -> None:
    required(item.data, "server_label", str, "item")
    for index, tool in enumerate(required(item.data, "tools", list, "item")):
        for key in ("name", "input_schema"):
            if tool.get(key) is None:
                required({}, key, str, f"item.tools[{index}]")


def _own(**checks: Check) -> Check:
    return fields(type=of_type(str), id=_text, **checks)


def _of_conversation(**checks: Check) -> Check:
    status = one_of("completed", "incomplete", "in_progress")
    return _own(object=nullable(one_of("realtime.item")), status=nullable(status), **checks)


_MCP_CALL: dict[str, Check] = {"server_label": _text, "name": _text, "arguments": _text}
_MCP_TOOL = fields(name=_text, input_schema=anything, description=_text, annotations=anything)
_MCP_ERROR = nullable(fields(type=of_type(str), message=of_type(str), code=of_type(int)))
_KINDS: Mapping[str, tuple[Callable[[Item, Conversation], None], Check]] = {
    "message": (_message, _of_conversation(role=_text, content=anything)),
    "function_call": (_function_call, _of_conversation(name=_text, arguments=_text, call_id=_text)),
    "function_call_output": (_function_call_output, _of_conversation(call_id=_text, output=_text)),
    "mcp_approval_response": (
        _mcp_approval_response,
        _own(approval_request_id=_text, approve=nullable(of_type(bool)), reason=_text),
    ),
    "mcp_approval_request": (_mcp_call, _own(**_MCP_CALL)),
    "mcp_call": (_mcp_call, _own(**_MCP_CALL, approval_request_id=_text, output=_text, error=_MCP_ERROR)),
    "mcp_list_tools": (_mcp_list_tools, _own(server_label=_text, tools=nullable(list_of(_MCP_TOOL)))),
}
"""For each kind of item: what it must have and be about, and the fields it may have."""
