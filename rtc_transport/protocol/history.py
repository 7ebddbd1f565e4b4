"""The conversation as this end knows it: items by id, in the service's order, with their texts.

The history does not depend on the order in which the service tells things, as far as it is free to choose: what an
item says of itself and what grows in it by deltas are kept apart and joined when they are read. A text that was once
complete stays, although a truncation deletes it at the service: it is what was said, if not all of it heard.
"""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from rtc_transport.events.items import Item

from .fields import objects, text, typed_item

MAX_PARTS = 64
_EARLY_ITEMS = 64
_GONE_ITEMS = 1024
_PART_TYPES = {"audio": "output_audio", "text": "output_text"}

Previous = str | None


class Unplaced:
    """The type of `UNPLACED`: an event that does not say where an item is."""


UNPLACED = Unplaced()


@dataclass(frozen=True, slots=True)
class HistoryLimits:
    """Bounds of the memory that a history takes; by default it keeps everything."""

    max_items: int | None = None
    """Most items; the first ones go. None is no limit."""
    keep_audio: bool = True
    """Whether base64 audio inside of items is kept; the texts always are."""


@dataclass(slots=True)
class _Text:
    part_type: str
    value: str = ""
    final: bool = False


_Texts = dict[tuple[int, str], _Text]


@dataclass(slots=True)
class _Entry:
    said: dict[str, Any]
    previous: Previous | Unplaced = UNPLACED
    texts: _Texts = field(default_factory=dict)
    item: Item | None = None


class History:
    """Items by id, in order."""

    def __init__(self, limits: HistoryLimits | None = None) -> None:
        self._limits = limits or HistoryLimits()
        self._entries: dict[str, _Entry] = {}
        self._order: list[str] = []
        self._early: OrderedDict[str, _Texts] = OrderedDict()
        self._gone: OrderedDict[str, None] = OrderedDict()
        self._waiting: dict[str, str] = {}  # items whose predecessor has not come
        self._snapshot: tuple[Item, ...] | None = ()

    @property
    def snapshot(self) -> tuple[Item, ...]:
        """The items as they are now; a later change makes a new tuple and leaves this one."""
        if self._snapshot is None:
            self._snapshot = tuple(self._item(self._entries[item_id]) for item_id in self._order)
        return self._snapshot

    def __contains__(self, item_id: str) -> bool:
        return item_id in self._entries

    def get(self, item_id: str) -> Item | None:
        """The item as it is now."""
        entry = self._entries.get(item_id)
        return self._item(entry) if entry else None

    def previous(self, item_id: str) -> Previous | Unplaced:
        """The item before it, None for the first; `UNPLACED` if it is not here."""
        if item_id not in self._entries:
            return UNPLACED
        place = self._order.index(item_id)
        return self._order[place - 1] if place else None

    def put(
        self, item: Mapping[str, Any], previous: Previous | Unplaced = UNPLACED, *, new: bool = False
    ) -> None:
        """What the service says about an item; `new` brings back one that was deleted."""
        item_id = text(item, "id")
        if not item_id or (item_id in self._gone and not new):
            return
        self._gone.pop(item_id, None)
        entry = self._entries.get(item_id)
        if entry is None:
            entry = self._entries[item_id] = _Entry({}, texts=self._early.pop(item_id, {}))
            self._order.append(item_id)
        entry.said = _merged(entry.said, _without_audio(item) if not self._limits.keep_audio else item)
        self._changed(entry)
        self._place(item_id, entry, previous)
        for follower in [each for each, awaited in self._waiting.items() if awaited == item_id]:
            del self._waiting[follower]
            self._move_behind(item_id, follower)
        self._evict()

    def remove(self, item_id: str) -> None:
        """The item was deleted; late events about it are ignored."""
        if self._entries.pop(item_id, None):
            self._order.remove(item_id)
            self._snapshot = None
        self._early.pop(item_id, None)
        self._forget(item_id)

    def add_text(self, item_id: str, index: int, name: str, part_type: str, delta: str) -> None:
        """A text grows: `name` (text or transcript) of the part `index`, which is of `part_type` if it is new.

        With the name `arguments` it is that field of the item.
        """
        found = self._text(item_id, index, name, part_type)
        if found is not None and not found.final:
            found.value += delta

    def set_text(self, item_id: str, index: int, name: str, part_type: str, value: str) -> None:
        """A text is complete; otherwise as `add_text`."""
        found = self._text(item_id, index, name, part_type)
        if found is not None:
            found.value, found.final = value, True

    def _text(self, item_id: str, index: int, name: str, part_type: str) -> _Text | None:
        if not item_id or item_id in self._gone or not 0 <= index < MAX_PARTS:
            return None
        entry = self._entries.get(item_id)
        if entry is None:
            texts = self._early.setdefault(item_id, {})
            _trim(self._early, _EARLY_ITEMS)
        else:
            texts = entry.texts
            self._changed(entry)
        return texts.setdefault((index, name), _Text(part_type))

    def _place(self, item_id: str, entry: _Entry, previous: Previous | Unplaced) -> None:
        """Moves an item right behind `previous`, once: the service repeats what was true when it was added."""
        if isinstance(previous, Unplaced) or previous == entry.previous or previous == item_id:
            return
        entry.previous = previous
        self._waiting.pop(item_id, None)
        if previous is None or previous in self._entries:
            self._move_behind(previous, item_id)
        else:  # told in another order: it stays last until that item comes
            self._waiting[item_id] = previous

    def _move_behind(self, previous: Previous, item_id: str) -> None:
        """Moves an item, and those right behind it that were placed by it."""
        start = end = self._order.index(item_id)
        block: list[str] = []
        while end < len(self._order) and self._order[end] != previous:
            if block and self._entries[self._order[end]].previous not in block:
                break
            block.append(self._order[end])
            end += 1
        del self._order[start:end]
        place = 0 if previous is None else self._order.index(previous) + 1
        self._order[place:place] = block

    def _evict(self) -> None:
        while self._limits.max_items is not None and len(self._order) > self._limits.max_items:
            evicted = self._order.pop(0)
            del self._entries[evicted]
            self._forget(evicted)

    def _forget(self, item_id: str) -> None:
        self._waiting.pop(item_id, None)
        self._gone[item_id] = None
        _trim(self._gone, _GONE_ITEMS)

    def _changed(self, entry: _Entry) -> None:
        entry.item = self._snapshot = None

    def _item(self, entry: _Entry) -> Item:
        if entry.item is None:
            entry.item = typed_item(_joined(entry))
        return entry.item


def _trim(remembered: OrderedDict[str, Any], most: int) -> None:
    while len(remembered) > most:
        remembered.popitem(last=False)


def _is_said(value: Any) -> bool:
    return value is not None and value != "" and value != []


def _merged(old: dict[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """What is said now over what was said before; what is not said any more stays."""
    merged = {**old, **{name: value for name, value in new.items() if name not in old or _is_said(value)}}
    if new.get("status") == "in_progress" and old.get("status") in ("completed", "incomplete"):
        merged["status"] = old["status"]
    if "content" in new:
        before, now = objects(old, "content"), objects(new, "content")[:MAX_PARTS]
        merged["content"] = [
            _merged_part(before[index] if index < len(before) else {}, now[index] if index < len(now) else {})
            for index in range(max(len(before), len(now)))
        ]
    return merged


def _merged_part(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    part = {**old, **{name: value for name, value in new.items() if name not in old or _is_said(value)}}
    if (legacy := text(part, "type")) in _PART_TYPES:
        part["type"] = _PART_TYPES[legacy]
    return part


def _without_audio(item: Mapping[str, Any]) -> dict[str, Any]:
    if "content" not in item:
        return dict(item)
    content = [
        {name: value for name, value in each.items() if name != "audio"} for each in objects(item, "content")
    ]
    return {**item, "content": content}


def _joined(entry: _Entry) -> dict[str, Any]:
    """The item with its texts: a complete one counts most, of two others the longer one."""
    if not entry.texts:
        return entry.said
    item = dict(entry.said)
    content = [dict(each) for each in objects(item, "content")]
    for (index, name), grown in sorted(entry.texts.items(), key=lambda keyed: keyed[0]):
        if name == "arguments":
            target = item
        else:
            while len(content) <= index:
                content.append({"type": grown.part_type})
            target = content[index]
        said = text(target, name)
        target[name] = grown.value if grown.final or len(grown.value) > len(said) else said
    if content or "content" in item:
        item["content"] = content
    return item
