"""The outbox: order, lanes, limits."""

import math
import random
from typing import Any

import pytest

from rtc_transport.errors import EventTooLarge, SendQueueFull
from rtc_transport.protocol.outbox import URGENT_RESERVE, Message, Outbox, encode

URGENT = ("response.cancel", "output_audio_buffer.clear", "conversation.item.truncate")
APPEND = "input_audio_buffer.append"
OTHERS = ("conversation.item.create", "session.update", "response.create", "input_audio_buffer.commit")


def message(kind: str, number: int = 0, **fields: Any) -> Message:
    return encode({"type": kind, "event_id": str(number), **fields})


def released(**limits: int) -> Outbox:
    outbox = Outbox(**limits)
    outbox.release()
    return outbox


def drain(outbox: Outbox) -> list[str]:
    taken = []
    while (popped := outbox.pop()) is not None:
        taken.append(f"{popped.type}:{popped.event_id}")
    return taken


@pytest.mark.parametrize("urgent", URGENT)
def test_an_urgent_event_overtakes_queued_audio(urgent: str) -> None:
    outbox = released()
    for number in range(3):
        outbox.put(message(APPEND, number))
    outbox.put(message(urgent, 9))
    assert drain(outbox) == [f"{urgent}:9", f"{APPEND}:0", f"{APPEND}:1", f"{APPEND}:2"]


@pytest.mark.parametrize("other", OTHERS)
def test_an_urgent_event_overtakes_nothing_but_audio(other: str) -> None:
    outbox = released()
    outbox.put(message(APPEND, 0))
    outbox.put(message(other, 1))
    outbox.put(message(APPEND, 2))
    outbox.put(message("response.cancel", 3))
    assert drain(outbox) == [f"{APPEND}:0", f"{other}:1", "response.cancel:3", f"{APPEND}:2"]


def test_every_other_order_is_kept_in_ten_thousand_mixed_messages() -> None:
    rng = random.Random(1)
    outbox = released(max_events=20_000)
    put = []
    for number in range(10_000):
        queued = message(rng.choice((*URGENT, APPEND, APPEND, *OTHERS)), number)
        put.append(queued)
        outbox.put(queued)
    taken: list[Message] = []
    while (popped := outbox.pop()) is not None:
        taken.append(popped)
    assert len(taken) == len(put)
    for lanes in (("append", "control"), ("urgent", "control")):  # only urgent against append may change
        assert [m for m in taken if m.lane in lanes] == [m for m in put if m.lane in lanes]
    place = {m.event_id: at for at, m in enumerate(taken)}
    assert all(place[m.event_id] <= at for at, m in enumerate(put) if m.lane == "urgent")


def test_until_the_session_is_acknowledged_only_the_opening_event_leaves() -> None:
    outbox = Outbox()
    outbox.put(message("conversation.item.create", 1))
    assert outbox.pop() is None
    outbox.open_with(message("session.update", 2))
    assert drain(outbox) == ["session.update:2"]
    outbox.release()
    assert drain(outbox) == ["conversation.item.create:1"]


def test_a_full_queue_says_so_and_keeps_what_it_has() -> None:
    outbox = released(max_events=2)
    two = [message("session.update", number) for number in range(2)]
    outbox.check(two)
    for each in two:
        outbox.put(each)
    with pytest.raises(
        SendQueueFull,
        match=r"^2 events of \d+ bytes are queued, the limits are 2 events and 16777216 bytes: ",
    ):
        outbox.check([message("session.update", 3)])
    assert outbox.queued_events == 2
    assert outbox.pop() is not None
    outbox.check([message("session.update", 3)])


def test_bytes_are_limited_too() -> None:
    outbox = released(max_bytes=1000)
    large = message("conversation.item.create", 1, item="x" * 700)
    outbox.check([large])
    outbox.put(large)
    with pytest.raises(SendQueueFull):
        outbox.check([large])
    assert outbox.queued_bytes == large.size


def test_a_queue_full_of_audio_can_still_be_interrupted() -> None:
    outbox = released(max_events=5)
    for number in range(5):
        outbox.put(message(APPEND, number))
    for number in range(URGENT_RESERVE):
        outbox.check([message("output_audio_buffer.clear", number)])
        outbox.put(message("output_audio_buffer.clear", number))
    with pytest.raises(SendQueueFull):
        outbox.check([message("output_audio_buffer.clear", 99)])


def test_an_event_over_the_peers_limit_is_refused_with_size_and_limit() -> None:
    outbox = released()
    outbox.set_limit(100)
    outbox.check([encode({"type": "t", "item": "x" * 78})])  # exactly 100 bytes
    with pytest.raises(EventTooLarge, match=r"^the event has 101 bytes, the peer takes 100: ") as caught:
        outbox.check([encode({"type": "t", "item": "x" * 79})])
    assert (caught.value.size, caught.value.limit) == (101, 100)


def test_size_is_counted_in_bytes_of_utf8() -> None:
    assert encode({"type": "t", "text": "é"}).size == encode({"type": "t", "text": "e"}).size + 1


def test_a_limit_that_becomes_known_removes_what_is_larger() -> None:
    outbox = released()
    small, large = message("session.update", 1), message("session.update", 2, session="x" * 200)
    outbox.put(small)
    outbox.put(large)
    assert outbox.set_limit(100) == [large]
    assert (outbox.queued_events, outbox.queued_bytes) == (1, small.size)


def test_an_unsent_message_can_be_withdrawn_and_not_its_twin() -> None:
    outbox = released()
    first, twin = message("response.create", 7), message("response.create", 7)
    outbox.put(first)
    outbox.put(twin)
    assert outbox.withdraw(twin)
    assert not outbox.withdraw(twin)
    assert outbox.pop() is first
    assert (outbox.pop(), outbox.queued_bytes) == (None, 0)


def test_serials_tell_what_has_left_also_when_it_was_overtaken() -> None:
    outbox = released()
    outbox.put(message(APPEND, 1))
    serial = outbox.last_serial
    outbox.put(message("response.cancel", 2))
    assert drain(outbox)[0] == "response.cancel:2"
    outbox.put(message(APPEND, 3))
    assert not outbox.holds(serial)
    assert outbox.holds(outbox.last_serial)


def test_clearing_counts_and_holds_again() -> None:
    outbox = released()
    outbox.put(message("session.update", 1))
    assert outbox.clear() == 1
    outbox.put(message("session.update", 2))
    assert outbox.pop() is None


@pytest.mark.parametrize(
    ("event", "text"),
    [
        ({}, "an event needs a `type`, a string that is not empty"),
        ({"type": 7}, "an event needs a `type`, a string that is not empty"),
        ({"type": "x", "event_id": 3}, "the event_id of x is no string"),
        ({"type": "x", "audio": b"raw"}, "x cannot be written as JSON: .*bytes"),
        ({"type": "x", "value": math.nan}, "x cannot be written as JSON: Out of range"),
        ({"type": "x", "text": "\ud800"}, "x holds half of a surrogate pair, which UTF-8 cannot say"),
    ],
)
def test_what_is_no_event_is_refused_in_one_line(event: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=f"^{text}"):
        encode(event)


def test_a_cycle_is_refused() -> None:
    event: dict[str, Any] = {"type": "x"}
    event["self"] = event
    with pytest.raises(ValueError, match=r"^x cannot be written as JSON: Circular"):
        encode(event)
