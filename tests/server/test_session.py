"""The session itself: messages of any kind, acknowledgements, expiry; and that no input whatever can break it."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.server_session import Driver, error_of, kinds, only


def test_the_session_is_announced_first() -> None:
    driver = Driver(session={"type": "realtime", "model": "gpt-realtime-2"})
    assert driver.log[0]["type"] == "session.created"
    assert driver.log[0]["session"]["model"] == "gpt-realtime-2"


def test_an_update_is_acknowledged_with_the_whole_session() -> None:
    driver = Driver()
    (updated,) = driver.send("session.update", session={"type": "realtime", "instructions": "Hi."})
    assert updated["session"] == {**driver.log[0]["session"], "instructions": "Hi."}


def test_the_double_update_of_the_javascript_sdk_is_acknowledged_twice() -> None:
    driver = Driver()
    first = driver.send("session.update", session={"type": "realtime", "model": "gpt-realtime-2.1"})
    second = driver.send("session.update", session={"type": "realtime", "tracing": "auto"})
    assert kinds(first + second) == ["session.updated", "session.updated"]


def test_a_call_that_named_its_model_keeps_it() -> None:
    driver = Driver(session={"type": "realtime", "model": "a"})
    update = {"type": "realtime", "model": "b", "instructions": "x"}
    assert error_of(driver.send("session.update", session=update))["code"] == "cannot_update_model"
    (updated,) = driver.send("session.update", session={"type": "realtime"})
    assert (updated["session"]["model"], updated["session"]["instructions"]) == ("a", "")


def test_the_voice_cannot_change_once_it_was_heard() -> None:
    driver = Driver()
    voice = {"type": "realtime", "audio": {"output": {"voice": "marin"}}}
    assert kinds(driver.send("session.update", session=voice)) == ["session.updated"]
    driver.send("response.create")
    driver.run(0.2)
    voice["audio"] = {"output": {"voice": "cedar"}}
    assert error_of(driver.send("session.update", session=voice))["code"] == "cannot_update_voice"


@pytest.mark.parametrize(
    ("message", "code", "text"),
    [
        ("{", "invalid_json", "We could not parse the JSON of the event"),
        ("[" * 100_000, "invalid_json", "We could not parse the JSON of the event"),
        ("1" * 5000, "invalid_json", "We could not parse the JSON of the event"),
        ('{"type": NaN}', "invalid_json", "We could not parse the JSON of the event: NaN is no JSON."),
        ("[]", "invalid_json", "The event is no JSON object."),
        (b"{}", "invalid_json", "The message is not UTF-8 text; events are JSON text."),
        ("{}", "missing_required_parameter", "Missing required parameter: 'type'."),
        (
            '{"type": 7}',
            "invalid_type",
            "Invalid type for 'type': expected a string, but got an integer instead.",
        ),
        (
            '{"type": "dance"}',
            "invalid_value",
            "Invalid value: 'dance'. Supported values are: 'session.update', ",
        ),
        (
            '{"type": "session.update"}',
            "missing_required_parameter",
            "Missing required parameter: 'session'.",
        ),
        ('{"type": "response.cancel", "response_id": 1}', "invalid_type", "Invalid type for 'response_id'"),
    ],
)
def test_a_bad_message_is_answered_with_an_error(message: str | bytes, code: str, text: str) -> None:
    error = error_of(Driver().send_raw(message))
    assert error["code"] == code
    assert error["message"].startswith(text)
    assert error["type"] == "invalid_request_error"


def test_an_error_names_the_event_at_fault() -> None:
    assert error_of(Driver().send("dance", event_id="mine"))["event_id"] == "mine"
    assert error_of(Driver().send("dance", event_id=7))["event_id"] is None


def test_an_oversized_event_is_refused_by_its_size() -> None:
    driver = Driver(max_event_bytes=1000)
    error = error_of(driver.send("input_audio_buffer.append", event_id="big", audio="A" * 1000))
    assert (error["code"], error["event_id"]) == ("event_too_large", "big")
    assert error["message"] == "The event has 1069 bytes; at most 1000 are allowed."


def test_the_session_expires() -> None:
    driver = Driver(max_session_seconds=2)
    assert driver.run(1.9) == []
    error = error_of(driver.run(1))
    assert (error["code"], error["message"]) == (
        "session_expired",
        "Your session hit the maximum duration of 2 seconds.",
    )
    assert driver.session.ended == "session_expired"
    assert driver.run(1) == []


def test_updates_can_go_unanswered_or_be_refused_on_purpose() -> None:
    assert Driver(acknowledge=False).send("session.update", session={"type": "realtime"}) == []
    refused = error_of(
        Driver(reject_update="Not today.").send("session.update", session={"type": "realtime"})
    )
    assert refused["message"] == "Not today."


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
VALID: list[dict[str, Any]] = [
    {"type": "session.update", "session": {"type": "realtime", "audio": {"input": {"turn_detection": None}}}},
    {
        "type": "conversation.item.create",
        "item": {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Hi"}]},
        "previous_item_id": "root",
    },
    {"type": "conversation.item.delete", "item_id": "item_3"},
    {"type": "conversation.item.retrieve", "item_id": "item_3"},
    {"type": "conversation.item.truncate", "item_id": "item_9", "content_index": 0, "audio_end_ms": 10},
    {"type": "input_audio_buffer.append", "audio": "AAAA" * 3000},
    {"type": "input_audio_buffer.commit"},
    {"type": "input_audio_buffer.clear"},
    {"type": "output_audio_buffer.clear"},
    {"type": "response.create", "response": {"conversation": "none", "input": [], "metadata": {"a": "b"}}},
    {"type": "response.cancel", "response_id": "resp_5"},
]


@st.composite
def mutated(draw: st.DrawFn) -> dict[str, Any]:
    """A client event with one value somewhere in it replaced, or none."""
    event: dict[str, Any] = json.loads(json.dumps(draw(st.sampled_from(VALID))))
    holder: Any = event
    for _ in range(draw(st.integers(0, 4))):
        if isinstance(holder, dict) and holder:
            key = draw(st.sampled_from(sorted(holder)))
        elif isinstance(holder, list) and holder:
            key = draw(st.integers(0, len(holder) - 1))
        else:
            break
        if key != "type" and draw(st.booleans()):
            holder[key] = draw(JSON)
            break
        holder = holder[key]
    return event


@settings(deadline=None, max_examples=100)
@given(st.lists(mutated(), max_size=12))
def test_no_client_event_breaks_the_session(events: list[dict[str, Any]]) -> None:
    driver = Driver()
    for event in events:
        driver.send_raw(json.dumps(event))
        driver.run(0.06)
    only(driver.send("session.update", session={"type": "realtime"}), "session.updated")
