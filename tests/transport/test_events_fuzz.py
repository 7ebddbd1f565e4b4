"""Whatever comes, parsing gives an event that can be written and shown again, or `MalformedMessage`."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from rtc_transport.events import (
    SERVER_EVENTS,
    ContentPart,
    EventModel,
    MalformedMessage,
    Response,
    Session,
    UserMessage,
    parse_client_event,
    parse_server_event,
    to_wire,
)

TEXT = st.text(st.characters(), max_size=8)  # lone surrogates too
KEYS = TEXT | st.sampled_from(["type", "item", "response", "session", "delta", "raw", "_raw", "self"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=8,
)

FUZZ = settings(deadline=None, derandomize=True, max_examples=200)  # validators are built on first use

SAMPLES: dict[str, Any] = {
    "item": UserMessage(content=[ContentPart(type="input_text", text="Hi")]),
    "response": Response(id="resp_1", output=[UserMessage(content=[])], usage={"total_tokens": 3}),
    "session": Session(audio={"output": {"voice": "ash"}}, tools=[{"type": "function", "name": "f"}]),
    "part": ContentPart(type="text"),
}


def sample(model: type[BaseModel], kind: str) -> dict[str, Any]:
    """A plausible event of a type, with a text in every field that is not an object."""
    fields = {name: to_wire(SAMPLES[name]) if name in SAMPLES else "text" for name in model.model_fields}
    return {**fields, "type": kind}


def check(event: EventModel, message: Any) -> None:
    assert json.dumps(event.raw) == json.dumps(message)  # by text: NaN does not equal itself
    assert event.type == message["type"]
    assert repr(event)
    json.dumps(to_wire(event))


@FUZZ
@given(st.binary(max_size=64) | TEXT)
def test_any_bytes_and_any_text(message: bytes | str) -> None:
    with pytest.raises(MalformedMessage):
        parse_server_event(message)


@FUZZ
@given(TEXT, st.dictionaries(KEYS, JSON, max_size=5))
def test_any_object_with_a_type(kind: str, fields: dict[str, Any]) -> None:
    message = {**fields, "type": kind}
    try:
        event = parse_server_event(json.dumps(message))
    except MalformedMessage:
        with pytest.raises(UnicodeEncodeError):
            json.dumps(message, ensure_ascii=False).encode()
    else:
        check(event, message)


@FUZZ
@given(st.sampled_from(sorted(SERVER_EVENTS)), st.data())
def test_known_events_with_one_field_changed(kind: str, data: st.DataObject) -> None:
    message = sample(SERVER_EVENTS[kind], kind)
    name = data.draw(st.sampled_from(sorted(message)).filter(lambda name: name != "type"))
    message[name] = data.draw(JSON)
    if isinstance(message[name], dict) and name in SAMPLES:
        message[name] = to_wire(SAMPLES[name]) | message[name]
    check(parse_server_event(json.dumps(message)), message)


@FUZZ
@given(st.sampled_from(sorted(SERVER_EVENTS)), JSON)
def test_known_events_with_any_content(kind: str, content: Any) -> None:
    message = dict.fromkeys(SERVER_EVENTS[kind].model_fields, content) | {"type": kind}
    check(parse_server_event(json.dumps(message)), message)


@FUZZ
@given(st.dictionaries(KEYS, JSON, max_size=5))
def test_any_mapping_of_a_client(fields: dict[str, Any]) -> None:
    message = {**fields, "type": "response.create"}
    try:
        raw = parse_client_event(message).raw
    except (MalformedMessage, TypeError):
        with pytest.raises(UnicodeEncodeError):
            json.dumps(message, ensure_ascii=False).encode()
    else:
        assert raw.keys() == message.keys()
        json.dumps(raw)
