"""reset_history: what is sent turns the old conversation into the new one, in place and in order."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rtc_transport.errors import HistoryError, SendQueueFull
from rtc_transport.events.items import ContentPart, UserMessage
from rtc_transport.protocol.ids import counting_ids
from rtc_transport.protocol.reset import reset_events
from support.conversation import Scripted

REMEDY = "audio_as_text=True replays it as its transcript"


def say(item_id: str | None, text: str = "hi", role: str = "user") -> dict[str, Any]:
    kind = "output_text" if role == "assistant" else "input_text"
    item = {"type": "message", "role": role, "content": [{"type": kind, "text": text}]}
    return item if item_id is None else {"id": item_id, **item}


def spoken(item_id: str, transcript: str | None, role: str = "assistant", **part: Any) -> dict[str, Any]:
    kind = "output_audio" if role == "assistant" else "input_audio"
    content = [{"type": kind, "transcript": transcript, **part}]
    return {"id": item_id, "type": "message", "role": role, "status": "completed", "content": content}


def reset(old: Any, new: Any, **options: Any) -> list[dict[str, Any]]:
    return reset_events(old, new, counting_ids(), **options)


def replay(old: list[dict[str, Any]], events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What the service has after the events; it refuses an unknown or repeated id."""
    items = {item["id"]: item for item in old}
    order = list(items)
    for event in events:
        if event["type"] == "conversation.item.delete":
            order.remove(event["item_id"])
            continue
        item, previous = event["item"], event["previous_item_id"]
        assert item["id"] not in order
        order.insert(0 if previous == "root" else order.index(previous) + 1, item["id"])
        items[item["id"]] = item
    return [items[item_id] for item_id in order]


def test_nothing_changed_sends_nothing() -> None:
    assert reset([say("a"), say("b")], [say("a"), say("b")]) == []


def test_deletions_come_first_then_creations_in_place() -> None:
    old = [say("a"), say("b"), say("c")]
    new = [say("x"), say("a"), say("b", "edited"), say("c")]
    assert reset(old, new) == [
        {"type": "conversation.item.delete", "item_id": "b"},
        {"type": "conversation.item.create", "previous_item_id": "root", "item": say("x")},
        {"type": "conversation.item.create", "previous_item_id": "a", "item": say("b", "edited")},
    ]


def test_an_item_that_moved_is_created_again_and_no_more_than_needed() -> None:
    old = [say(each) for each in "abcde"]
    events = reset(old, [say(each) for each in "bcdea"])
    assert [event["type"] for event in events] == ["conversation.item.delete", "conversation.item.create"]
    assert events[1]["previous_item_id"] == "e"


def test_an_empty_history_deletes_everything() -> None:
    assert [event["item_id"] for event in reset([say("a"), spoken("b", None)], [])] == ["a", "b"]


def test_models_and_mappings_are_taken_alike() -> None:
    model = UserMessage(id="a", content=[ContentPart(type="input_text", text="hi")])
    assert reset([model], [say("a")]) == []
    assert reset([], [model])[0]["item"] == say("a")


def test_an_item_without_an_id_gets_one_that_the_service_takes() -> None:
    (event,) = reset([], [say(None)])
    assert event["item"]["id"] == "item_1"


@settings(max_examples=150, deadline=None)
@given(st.permutations(list("abcdefgh")), st.permutations(list("abcdefghij")), st.data())
def test_the_service_has_the_new_history_afterwards(old: list[str], new: list[str], data: Any) -> None:
    before = [say(each) for each in old[: data.draw(st.integers(0, 8))]]
    after = [
        say(each, data.draw(st.sampled_from(["hi", "edited"])))
        for each in new[: data.draw(st.integers(0, 10))]
    ]
    assert replay(before, reset(before, after)) == after


def test_function_calls_and_their_outputs_are_replayed() -> None:
    call = {"id": "f", "type": "function_call", "name": "look", "arguments": "{}", "call_id": "c"}
    output = {"id": "o", "type": "function_call_output", "call_id": "c", "output": "ok"}
    done = [{**call, "status": "completed", "object": "realtime.item"}, output]
    assert [event["item"] for event in reset([], done)] == [call, output]


def test_the_models_audio_is_replayed_as_its_transcript_when_asked() -> None:
    (event,) = reset([], [spoken("a", "Good day")], audio_as_text=True)
    assert event["item"]["content"] == [{"type": "output_text", "text": "Good day"}]


def test_the_users_audio_is_replayed_as_audio_or_as_its_transcript_when_asked() -> None:
    known = spoken("u", "Hi", "user", audio="AAAA")
    assert reset([], [known])[0]["item"]["content"][0]["audio"] == "AAAA"
    (event,) = reset([], [spoken("u", "Hi", "user")], audio_as_text=True)
    assert event["item"]["content"] == [{"type": "input_text", "text": "Hi"}]


def test_an_untouched_item_may_be_of_any_kind() -> None:
    keep = [spoken("a", None), {"id": "m", "type": "mcp_list_tools", "server_label": "s", "tools": []}]
    assert [event["item"]["id"] for event in reset(keep, [*keep, say("u")])] == ["u"]


@pytest.mark.parametrize(
    ("item", "text"),
    [
        (
            spoken("a", "Good day"),
            f"item a: the service takes no output_audio from a client; {REMEDY}",
        ),
        (
            spoken("u", "Hi", "user"),
            "item u: the service takes no input_audio without its samples from a client; ",
        ),
        ({"id": "m", "type": "mcp_call"}, "item m: the service takes no item of type mcp_call from a client"),
        ({"id": "n"}, "item n: the service takes no item of type none from a client"),
        (
            say("x" * 33),
            f"item '{'x' * 33}': the service takes ids of at most 32 ASCII characters from a client",
        ),
        (say("ünicode"), "item 'ünicode': the service takes ids of at most 32 ASCII characters"),
        ({**say("e"), "content": []}, "item e: a message without content cannot be created"),
        ({**say("e"), "id": 5}, "the new history has the item id 5, which is no string"),
    ],
)
def test_what_cannot_be_created_is_refused_before_anything_is_sent(item: dict[str, Any], text: str) -> None:
    call = Scripted().connect()
    with pytest.raises(HistoryError) as caught:
        call.core.reset_history([say("old")], [say("first"), item])
    assert str(caught.value).startswith(text)
    assert call.sent() == []


def test_an_id_that_stands_twice_is_refused() -> None:
    with pytest.raises(HistoryError, match=r"^the new history has the item id 'a' twice$"):
        reset([], [say("a"), say("a")])


def test_audio_without_a_transcript_cannot_be_replayed_as_one() -> None:
    with pytest.raises(HistoryError, match=r"^item a: its output_audio has no transcript to be replayed as$"):
        reset([], [spoken("a", None)], audio_as_text=True)


def test_a_history_too_long_for_the_queue_is_refused_as_a_whole() -> None:
    call = Scripted().connect()
    with pytest.raises(SendQueueFull):
        call.core.reset_history([], [say(f"i{number}") for number in range(1001)])
    assert call.sent() == []


def test_the_events_go_out_in_order() -> None:
    call = Scripted().connect()
    call.core.reset_history([say("a")], [say("b"), say("c")])
    sent = call.sent()
    assert [event.get("item_id") or event["item"]["id"] for event in sent] == ["a", "b", "c"]
