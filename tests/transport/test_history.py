"""The local history: order, texts, limits; then any order the service may choose against a plain replay."""

import dataclasses
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from rtc_transport.events.base import to_wire
from rtc_transport.events.items import AssistantMessage, Item, UserMessage
from rtc_transport.protocol.history import MAX_PARTS, History, HistoryLimits
from rtc_transport.protocol.recorder import Recorder


def recorder(**limits: Any) -> Recorder:
    return Recorder(History(HistoryLimits(**limits)))


def tell(record: Recorder, kind: str, **fields: Any) -> None:
    record.record({"type": kind, **fields})


def message(item_id: str, role: str = "user", content: Any = (), **fields: Any) -> dict[str, Any]:
    return {"id": item_id, "type": "message", "role": role, "content": list(content), **fields}


def add(record: Recorder, item_id: str, **fields: Any) -> None:
    tell(record, "conversation.item.added", item=message(item_id), **fields)


def ids(record: Recorder) -> list[str | None]:
    return [item.id for item in record.history.snapshot]


def part(record: Recorder, item_id: str, index: int = 0) -> Any:
    item = record.history.get(item_id)
    assert isinstance(item, UserMessage | AssistantMessage)
    return item.content[index]


def of(item_id: str, **fields: Any) -> dict[str, Any]:
    return {"response_id": "r1", "item_id": item_id, "output_index": 0, "content_index": 0, **fields}


def test_items_stand_behind_the_item_they_name() -> None:
    record = recorder()
    add(record, "a", previous_item_id=None)
    add(record, "c", previous_item_id="a")
    add(record, "b", previous_item_id="a")
    add(record, "d", previous_item_id="c")
    assert ids(record) == ["a", "b", "c", "d"]


def test_null_is_the_first_place_and_nothing_said_the_last() -> None:
    record = recorder()
    add(record, "b")
    add(record, "c")
    add(record, "a", previous_item_id=None)
    assert ids(record) == ["a", "b", "c"]


def test_the_end_of_an_item_repeats_its_place_and_moves_nothing() -> None:
    record = recorder()
    add(record, "a", previous_item_id=None)
    add(record, "c", previous_item_id="a")
    add(record, "b", previous_item_id="a")
    tell(record, "conversation.item.done", item=message("c"), previous_item_id="a")
    assert ids(record) == ["a", "b", "c"]


def test_an_item_waits_for_the_one_it_names_and_takes_its_followers_along() -> None:
    record = recorder()
    add(record, "a", previous_item_id=None)
    add(record, "z", previous_item_id="a")
    add(record, "c", previous_item_id="b")
    add(record, "d", previous_item_id="c")
    assert ids(record) == ["a", "z", "c", "d"]
    add(record, "b", previous_item_id="a")
    assert ids(record) == ["a", "b", "c", "d", "z"]


def test_items_that_name_each_other_do_no_harm() -> None:
    record = recorder()
    add(record, "a", previous_item_id="b")
    add(record, "b", previous_item_id="a")
    tell(record, "conversation.item.done", item=message("a"), previous_item_id="a")
    assert sorted(map(str, ids(record))) == ["a", "b"]


def test_transcripts_of_the_model_are_merged() -> None:
    record = recorder()
    tell(record, "conversation.item.added", item=message("a", "assistant"), previous_item_id=None)
    tell(record, "response.content_part.added", **of("a", part={"type": "audio"}))
    assert part(record, "a").type == "output_audio"
    tell(record, "response.output_audio_transcript.delta", **of("a", delta="Good "))
    tell(record, "response.output_audio_transcript.delta", **of("a", delta="day"))
    assert part(record, "a").transcript == "Good day"
    tell(record, "response.output_audio_transcript.done", **of("a", transcript="Good day."))
    assert part(record, "a").transcript == "Good day."


def test_transcripts_of_the_user_are_merged() -> None:
    record = recorder()
    kind = "conversation.item.input_audio_transcription"
    content = [{"type": "input_audio", "transcript": None}]
    tell(record, "conversation.item.added", item=message("u", content=content), previous_item_id=None)
    tell(record, f"{kind}.delta", item_id="u", content_index=0, delta="Hel")
    assert part(record, "u").transcript == "Hel"
    tell(record, f"{kind}.completed", item_id="u", content_index=0, transcript="Hello")
    assert (part(record, "u").type, part(record, "u").transcript) == ("input_audio", "Hello")


def test_a_text_may_come_before_its_item() -> None:
    record = recorder()
    kind = "conversation.item.input_audio_transcription"
    tell(record, f"{kind}.completed", item_id="u", content_index=0, transcript="Hello")
    assert ids(record) == []
    tell(record, "conversation.item.added", item=message("u", content=[{"type": "input_audio"}]))
    assert part(record, "u").transcript == "Hello"


@pytest.mark.parametrize("kind", ["conversation.item.done", "conversation.item.retrieved"])
def test_a_transcript_is_kept_through_truncation(kind: str) -> None:
    record = recorder()
    tell(record, "conversation.item.added", item=message("a", "assistant"), previous_item_id=None)
    tell(record, "response.output_audio_transcript.delta", **of("a", delta="Good day"))
    tell(record, "conversation.item.truncated", item_id="a", content_index=0, audio_end_ms=300)
    cut = message("a", "assistant", [{"type": "output_audio", "transcript": None}], status="incomplete")
    tell(record, kind, item=cut)
    item = record.history.get("a")
    assert isinstance(item, AssistantMessage)
    assert (item.status, item.content[0].transcript) == ("incomplete", "Good day")


def test_text_parts_and_arguments_grow_too() -> None:
    record = recorder()
    tell(record, "conversation.item.added", item=message("a", "assistant"))
    tell(record, "response.output_text.delta", **of("a", delta="Go"))
    tell(record, "response.output_text.done", **of("a", text="Good"))
    tell(
        record,
        "response.content_part.done",
        **of("a", content_index=1) | {"part": {"type": "text", "text": "day"}},
    )
    assert (part(record, "a").text, part(record, "a", 1).text) == ("Good", "day")
    call = {"id": "f", "type": "function_call", "name": "look", "arguments": "", "call_id": "c"}
    tell(record, "conversation.item.added", item=call)
    tell(record, "response.function_call_arguments.delta", **of("f", delta='{"x":'))
    assert to_wire(record.history.snapshot[1])["arguments"] == '{"x":'
    tell(record, "response.function_call_arguments.done", **of("f", arguments='{"x":1}'))
    assert to_wire(record.history.snapshot[1]) == {**call, "arguments": '{"x":1}'}


def test_an_item_of_a_response_is_in_the_history_even_if_no_other_event_tells() -> None:
    record = recorder()
    tell(record, "response.created", response={"id": "r1", "conversation_id": "conv"})
    tell(record, "response.output_item.added", response_id="r1", item=message("a", "assistant"))
    assert ids(record) == ["a"]


def test_a_response_outside_of_the_conversation_leaves_no_trace() -> None:
    record = recorder()
    tell(record, "response.created", response={"id": "r1", "conversation_id": None})
    tell(record, "response.output_item.added", response_id="r1", item=message("a", "assistant"))
    tell(record, "response.output_text.delta", **of("a", delta="secret"))
    tell(record, "response.done", response={"id": "r1", "output": [message("a", "assistant")]})
    assert ids(record) == []


def test_a_deleted_item_does_not_come_back_by_late_events() -> None:
    record = recorder()
    add(record, "a", previous_item_id=None)
    tell(record, "conversation.item.deleted", item_id="a")
    tell(record, "response.output_item.done", response_id="r1", item=message("a"))
    tell(record, "conversation.item.done", item=message("a"))
    tell(record, "response.output_text.delta", **of("a", delta="x"))
    assert ids(record) == []
    add(record, "a", previous_item_id=None)  # created anew, as reset_history does
    assert ids(record) == ["a"]
    assert to_wire(record.history.snapshot[0])["content"] == []


def test_legacy_names_of_parts_are_the_new_ones() -> None:
    record = recorder()
    legacy = message(
        "a", "assistant", [{"type": "audio", "transcript": "Hi"}, {"type": "text", "text": "there"}]
    )
    tell(record, "conversation.item.created", item=legacy)
    assert [each["type"] for each in to_wire(record.history.snapshot[0])["content"]] == [
        "output_audio",
        "output_text",
    ]


def test_a_status_does_not_go_back() -> None:
    record = recorder()
    tell(record, "conversation.item.done", item=message("a", status="completed"))
    tell(record, "conversation.item.added", item=message("a", status="in_progress"))
    assert record.history.snapshot[0].status == "completed"


def test_images_and_unknown_items_are_items() -> None:
    record = recorder()
    image = {"type": "input_image", "image_url": "data:,x", "detail": "low"}
    tell(record, "conversation.item.added", item=message("u", content=[image]))
    tell(record, "conversation.item.added", item={"id": "n", "type": "hologram", "depth": 3})
    tell(record, "conversation.item.added", item={"id": "b", "type": "message", "role": "user", "content": 7})
    assert [to_wire(item) for item in record.history.snapshot] == [
        message("u", content=[image]),
        {"id": "n", "type": "hologram", "depth": 3},
        {"id": "b", "type": "message", "role": "user", "content": []},
    ]
    tell(record, "conversation.item.added", item={"id": "f", "type": "function_call", "name": 5, "extra": 1})
    assert to_wire(record.history.snapshot[-1]) == {"id": "f", "type": "function_call", "name": 5, "extra": 1}


def test_a_snapshot_does_not_change() -> None:
    record = recorder()
    add(record, "a")
    before = record.history.snapshot
    assert record.history.snapshot is before
    add(record, "b")
    assert [item.id for item in before] == ["a"]
    with pytest.raises(ValidationError, match="frozen"):
        before[0].id = "x"  # type: ignore[misc]  # what is tested
    with pytest.raises(dataclasses.FrozenInstanceError):
        HistoryLimits().max_items = 3  # type: ignore[misc]  # what is tested


def test_audio_is_dropped_on_request_and_its_transcript_kept() -> None:
    record = recorder(keep_audio=False)
    content = [{"type": "input_audio", "audio": "A" * 1000, "transcript": "Hello"}]
    tell(record, "conversation.item.retrieved", item=message("u", content=content))
    assert to_wire(record.history.snapshot[0])["content"] == [{"type": "input_audio", "transcript": "Hello"}]


def test_items_without_content_have_no_audio_to_drop() -> None:
    record = recorder(keep_audio=False)
    output = {"id": "o", "type": "function_call_output", "call_id": "c", "output": "ok"}
    tell(record, "conversation.item.added", item=output)
    assert to_wire(record.history.snapshot[0]) == output


def test_items_are_capped_on_request() -> None:
    record = recorder(max_items=3)
    for number in range(10):
        previous = str(number - 1) if number else None
        add(record, str(number), previous_item_id=previous)
        tell(record, "conversation.item.done", item=message(str(number)), previous_item_id=previous)
    tell(record, "conversation.item.done", item=message("0"), previous_item_id=None)
    assert ids(record) == ["7", "8", "9"]


@pytest.mark.parametrize("kind", [{"of": "part"}, ["output_audio"], 7, None])
def test_a_part_whose_type_is_no_text_is_kept_as_it_came(kind: object) -> None:
    record = recorder()
    content = [{"type": kind, "text": "x"}]
    record.record(
        {"type": "conversation.item.added", "item": {"id": "a", "type": "message", "content": content}}
    )
    assert [item.id for item in record.history.snapshot] == ["a"]


def test_nonsense_from_the_service_costs_no_memory() -> None:
    record = recorder()
    add(record, "a")
    for number in range(2000):
        tell(record, "response.output_text.delta", **of(f"unknown{number}", delta="x" * 100))
        tell(record, "response.output_text.delta", **of("a", content_index=10**9 + number) | {"delta": "x"})
        tell(record, "conversation.item.deleted", item_id=f"never{number}")
        tell(record, "conversation.item.done", item=message("a"), previous_item_id=f"never{number}")
    tell(record, "conversation.item.added", item=message("many", content=[{"type": "input_text"}] * 500))
    history = record.history
    assert len(history._early) <= 64
    assert len(history._gone) <= 1024
    assert len(history._waiting) <= 1
    assert len(to_wire(history.snapshot[-1])["content"]) == MAX_PARTS


# Any order of a service that may choose


class Reference:
    """A conversation as it is at the service: lists and finished texts, nothing else."""

    def __init__(self) -> None:
        self.order: list[str] = []
        self.transcripts: dict[str, str] = {}
        self.roles: dict[str, str] = {}

    def insert(self, item_id: str, role: str, place: int) -> str | None:
        previous = self.order[place - 1] if place else None
        self.order.insert(place, item_id)
        self.roles[item_id], self.transcripts[item_id] = role, ""
        return previous

    def view(self) -> list[tuple[str, str, str]]:
        return [(each, self.roles[each], self.transcripts[each]) for each in self.order]


@st.composite
def conversations(draw: st.DrawFn) -> tuple[list[tuple[str, str, str]], list[dict[str, Any]]]:
    """What the service has at the end, and its events in one of the orders it may choose.

    Per item the order is fixed (added, deltas, whole text, done, later its truncation or deletion); the items' strands
    are interleaved at will, as transcriptions and responses run side by side.
    """
    reference = Reference()
    strands: list[list[dict[str, Any]]] = []
    created: list[dict[str, Any]] = []
    for number in range(draw(st.integers(1, 6))):
        item_id, role = f"i{number}", draw(st.sampled_from(["user", "assistant"]))
        previous = reference.insert(item_id, role, draw(st.integers(0, len(reference.order))))
        words = draw(st.lists(st.sampled_from(["one ", "two ", "three "]), max_size=4))
        strands.append(strand(item_id, role, previous, words, cut=draw(st.booleans())))
        reference.transcripts[item_id] = "".join(words)
        created.append(strands[-1].pop(0))
    for item_id in draw(st.lists(st.sampled_from(reference.order), unique=True)):
        strands[int(item_id[1:])].append({"type": "conversation.item.deleted", "item_id": item_id})
        reference.order.remove(item_id)
    # additions are told in the order they happened; everything else lies somewhere behind its own addition
    events: list[dict[str, Any]] = []
    waiting = [(addition, rest) for addition, rest in zip(created, strands, strict=True)]
    running: list[list[dict[str, Any]]] = []
    additions_left = len(waiting)
    while waiting or running:
        # a deletion before all additions would leave later ones without the item they name
        ready = [each for each in running if additions_left == 0 or not each[0]["type"].endswith("deleted")]
        choice = draw(st.integers(0, len(ready))) if waiting else draw(st.integers(1, len(ready)))
        if choice == 0:
            addition, rest = waiting.pop(0)
            additions_left -= 1
            events.append(addition)
            running += [rest] if rest else []
        else:
            chosen = ready[choice - 1]
            events.append(chosen.pop(0))
            running = [each for each in running if each]
    return reference.view(), events


def strand(
    item_id: str, role: str, previous: str | None, words: list[str], *, cut: bool
) -> list[dict[str, Any]]:
    text = "".join(words)
    if role == "user":
        prefix, name, kind = "conversation.item.input_audio_transcription", "completed", "input_audio"
    else:
        prefix, name, kind = "response.output_audio_transcript", "done", "output_audio"
    empty = message(item_id, role, [{"type": kind, "transcript": None}] if role == "user" else [])
    whole = message(item_id, role, [{"type": kind, "transcript": text or None}], status="completed")
    events = [
        {"type": "conversation.item.added", "item": empty, "previous_item_id": previous},
        *({"type": f"{prefix}.delta", **of(item_id, delta=word)} for word in words),
        {"type": f"{prefix}.{name}", **of(item_id, transcript=text)},
        {"type": "conversation.item.done", "item": whole, "previous_item_id": previous},
    ]
    if cut:
        bare = message(item_id, role, [{"type": kind, "transcript": None}])
        events.append({"type": "conversation.item.truncated", **of(item_id, audio_end_ms=10)})
        events.append({"type": "conversation.item.retrieved", "item": bare})
    return events


def view(record: Recorder) -> list[tuple[str | None, str, str]]:
    return [(item.id, *said(item)) for item in record.history.snapshot]


def said(item: Item) -> tuple[str, str]:
    assert isinstance(item, UserMessage | AssistantMessage)
    return item.role, "".join(each.transcript or "" for each in item.content)


@settings(max_examples=200, deadline=None)
@given(conversations())
def test_the_history_equals_the_service_after_any_order(
    drawn: tuple[list[tuple[str, str, str]], list[dict[str, Any]]],
) -> None:
    expected, events = drawn
    record = recorder()
    for event in events:
        record.record(event)
    assert view(record) == expected


@settings(max_examples=200, deadline=None)
@given(conversations(), st.randoms(use_true_random=False))
def test_without_deletions_even_texts_in_no_order_at_all_come_out_the_same(
    drawn: tuple[list[tuple[str, str, str]], list[dict[str, Any]]], rng: Any
) -> None:
    _, events = drawn
    kept = [event for event in events if not event["type"].endswith("deleted")]
    additions = [event for event in kept if event["type"] == "conversation.item.added"]
    rest = [event for event in kept if event["type"] != "conversation.item.added"]
    straight, mixed = recorder(), recorder()
    for event in additions + rest:
        straight.record(event)
    rng.shuffle(rest)
    for event in additions + rest:
        mixed.record(event)
    assert view(mixed) == view(straight)
