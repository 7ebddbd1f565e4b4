"""From one history to another: the client events that delete and create items in place."""

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from typing import Any

from rtc_transport.errors import HistoryError
from rtc_transport.events.base import WireModel, to_wire

from .fields import objects, text
from .ids import MAX_ID_LENGTH, IdMaker, is_client_id

_Item = WireModel | Mapping[str, Any]
_REPLAYED = {
    "message": ("role", "content"),
    "function_call": ("name", "arguments", "call_id"),
    "function_call_output": ("call_id", "output"),
}
_TEXT_TYPES = {"output_audio": "output_text", "audio": "output_text", "input_audio": "input_text"}


def reset_events(
    old: Sequence[_Item], new: Sequence[_Item], new_id: IdMaker, *, audio_as_text: bool = False
) -> list[dict[str, Any]]:
    """The events that turn the service's conversation from `old` into `new`, ids and order kept.

    Items that stay as they are and in order are left alone. First all deletions, then the creations in the order of
    `new`, each naming the item it goes behind (`root`: none). An item without an id gets one.
    `audio_as_text` replays the model's audio, and the user's where its samples are not known, as their transcripts.

    Raises HistoryError for what cannot be created: audio otherwise, MCP items, unknown kinds, bad or repeated ids.
    """
    before = {text(item, "id"): item for item in map(_wire, old)}
    after = [_with_id(_wire(item), new_id) for item in new]
    _check_ids(after)
    kept = _kept(before, after)
    deletions = [
        {"type": "conversation.item.delete", "item_id": item_id}
        for item_id in before
        if item_id and item_id not in kept
    ]
    creations = []
    previous = "root"
    for item in after:
        if item["id"] not in kept:
            created = _replayable(item, audio_as_text)
            creations.append(
                {"type": "conversation.item.create", "previous_item_id": previous, "item": created}
            )
        previous = item["id"]
    return deletions + creations


def _wire(item: _Item) -> dict[str, Any]:
    return to_wire(item) if isinstance(item, WireModel) else dict(item)


def _with_id(item: dict[str, Any], new_id: IdMaker) -> dict[str, Any]:
    return item if item.get("id") is not None else {**item, "id": new_id("item")}


def _check_ids(items: Sequence[Mapping[str, Any]]) -> None:
    seen: set[str] = set()
    for item in items:
        item_id = item["id"]
        if not isinstance(item_id, str):
            raise HistoryError(f"the new history has the item id {item_id!r}, which is no string")
        if item_id in seen:
            raise HistoryError(f"the new history has the item id {item_id!r} twice")
        seen.add(item_id)


def _kept(before: Mapping[str, Mapping[str, Any]], after: Sequence[Mapping[str, Any]]) -> set[str]:
    """The ids of the most items that are the same and in the same order (a longest increasing subsequence)."""
    places = {item_id: place for place, item_id in enumerate(before)}
    same = [item["id"] for item in after if before.get(item["id"]) == item]
    tails: list[int] = []  # by length: the least place that a sequence of that length ends with
    ends: list[str] = []
    back: dict[str, str | None] = {}
    for item_id in same:
        length = bisect_left(tails, places[item_id])
        back[item_id] = ends[length - 1] if length else None
        tails[length : length + 1] = [places[item_id]]
        ends[length : length + 1] = [item_id]
    kept = set()
    step = ends[-1] if ends else None
    while step is not None:
        kept.add(step)
        step = back[step]
    return kept


def _replayable(item: Mapping[str, Any], audio_as_text: bool) -> dict[str, Any]:
    """The item as the service takes it from a client."""
    kind, item_id = text(item, "type"), item["id"]
    if kind not in _REPLAYED:
        raise HistoryError(
            f"item {item_id}: the service takes no item of type {kind or 'none'} from a client"
        )
    if not is_client_id(item_id):
        raise HistoryError(
            f"item {item_id!r}: the service takes ids of at most {MAX_ID_LENGTH} ASCII characters from a client"
        )
    created = {"id": item_id, "type": kind, **{name: item[name] for name in _REPLAYED[kind] if name in item}}
    if kind == "message":
        parts = [_replayable_part(item, each, audio_as_text) for each in objects(item, "content")]
        if not parts:
            raise HistoryError(f"item {item_id}: a message without content cannot be created")
        created["content"] = parts
    return created


def _replayable_part(
    item: Mapping[str, Any], content: Mapping[str, Any], audio_as_text: bool
) -> dict[str, Any]:
    kind = text(content, "type")
    if kind not in _TEXT_TYPES or (kind == "input_audio" and content.get("audio")):
        return dict(content)
    if not audio_as_text:
        lacking = " without its samples" if kind == "input_audio" else ""
        raise HistoryError(
            f"item {item['id']}: the service takes no {kind}{lacking} from a client; "
            "audio_as_text=True replays it as its transcript"
        )
    transcript = text(content, "transcript")
    if not transcript:
        raise HistoryError(f"item {item['id']}: its {kind} has no transcript to be replayed as")
    return {"type": _TEXT_TYPES[kind], "text": transcript}
