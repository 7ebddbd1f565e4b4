"""Our events against those of the `openai` package, in both directions.

Everything is generated from its unions: a new release of it shows here what is missing.
"""

import json
from collections.abc import Iterator, Mapping
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import pytest
from pydantic import BaseModel

from rtc_transport.events import (
    CLIENT_EVENTS,
    SERVER_EVENTS,
    AudioConfig,
    AudioInput,
    AudioOutput,
    ContentPart,
    ConversationItemCreate,
    ConversationItemDelete,
    ConversationItemRetrieve,
    ConversationItemTruncate,
    EventModel,
    FunctionCallOutputItem,
    FunctionTool,
    InputAudioBufferAppend,
    InputAudioBufferClear,
    InputAudioBufferCommit,
    Item,
    McpApprovalResponseItem,
    McpServerTool,
    OutputAudioBufferClear,
    ResponseCancel,
    ResponseCreate,
    ResponseParams,
    SessionUpdate,
    SystemMessage,
    Tool,
    TurnDetection,
    UserMessage,
    parse_client_event,
    parse_server_event,
    to_wire,
)
from rtc_transport.session import SessionConfig

Json = Any


def variants(annotation: Any) -> Iterator[Json]:
    """Values that a type admits, the most complete first; every literal and every member of a union among them."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        yield from variants(arguments[0])
    elif origin in (Union, UnionType):
        for member in sorted(arguments, key=lambda member: member is NoneType):
            yield from variants(member)
    elif origin is Literal:
        yield from arguments
    elif origin is list:
        yield from ([value] for value in variants(arguments[0]))
        yield []
    elif origin is dict:
        yield from ({"key": value} for value in variants(arguments[1]))
    elif isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield from model_variants(annotation)
    else:
        yield {str: "text", int: 7, float: 0.5, bool: True, NoneType: None, object: {"any": [1, None]}}[
            annotation
        ]


def model_variants(model: type[BaseModel]) -> Iterator[dict[str, Json]]:
    """All fields given, the required ones only, then every other value of every field."""
    values = {
        field.alias or name: list(variants(field.annotation)) for name, field in model.model_fields.items()
    }
    full = {name: options[0] for name, options in values.items()}
    yield full
    yield {
        field.alias or name: full[field.alias or name]
        for name, field in model.model_fields.items()
        if field.is_required()
    }
    for name, options in values.items():
        yield from ({**full, name: option} for option in options[1:])


def theirs(union: Any) -> dict[str, type[BaseModel]]:
    """The models of one of their unions by event type."""
    return {
        get_args(model.model_fields["type"].annotation)[0]: model for model in get_args(get_args(union)[0])
    }


@pytest.fixture(scope="module")
def server_models() -> dict[str, type[BaseModel]]:
    from openai.types.realtime.realtime_server_event import RealtimeServerEvent

    return theirs(RealtimeServerEvent)


@pytest.fixture(scope="module")
def client_models() -> dict[str, type[BaseModel]]:
    from openai.types.realtime.realtime_client_event import RealtimeClientEvent

    return theirs(RealtimeClientEvent)


def unknown_fields(value: object, path: str = "") -> Iterator[str]:
    """Fields that a model of ours kept without knowing them."""
    if isinstance(value, BaseModel):
        if type(value) not in (Item, Tool):  # these stand for kinds that have no model
            yield from (f"{path}.{name}" for name in value.model_extra or ())
        for name, inner in value:
            yield from unknown_fields(inner, f"{path}.{name}")
    elif isinstance(value, tuple):
        for inner in value:
            yield from unknown_fields(inner, f"{path}[]")


def test_the_types_are_theirs(server_models: Mapping[str, Any], client_models: Mapping[str, Any]) -> None:
    assert sorted(SERVER_EVENTS) == sorted(server_models)
    assert sorted(CLIENT_EVENTS) == sorted(client_models)


@pytest.mark.parametrize("kind", sorted(SERVER_EVENTS))
def test_a_server_event_of_theirs_is_read_typed_and_written_the_same(
    kind: str, server_models: dict[str, type[BaseModel]]
) -> None:
    for message in model_variants(server_models[kind]):
        event = parse_server_event(json.dumps(message))
        assert type(event) is SERVER_EVENTS[kind], (message, event)
        assert list(unknown_fields(event)) == []
        assert to_wire(event) == message
        assert event.raw == message


@pytest.mark.parametrize("kind", sorted(CLIENT_EVENTS))
def test_a_client_event_of_theirs_passes_through_ours_and_validates_there(
    kind: str, client_models: dict[str, type[BaseModel]]
) -> None:
    for message in model_variants(client_models[kind]):
        event = parse_client_event(message)
        assert type(event) is CLIENT_EVENTS[kind], (message, event)
        assert list(unknown_fields(event)) == []
        assert to_wire(event) == message
        client_models[kind].model_validate_json(json.dumps(to_wire(event)))


BUILT: list[EventModel] = [
    SessionUpdate(session=SessionConfig()),
    SessionUpdate(session=SessionConfig.agents_js(instructions="Be brief.", tracing="auto")),
    SessionUpdate(
        event_id="e1",
        session=SessionConfig(
            audio=AudioConfig(
                input=AudioInput(
                    transcription=None,
                    turn_detection=TurnDetection(type="server_vad", threshold=0.5, silence_duration_ms=300),
                ),
                output=AudioOutput(voice="marin", speed=1.1),
            ),
            tools=[
                FunctionTool(name="time", parameters={"type": "object"}),
                McpServerTool(
                    server_label="docs", server_url="https://example.org", require_approval="never"
                ),
            ],
            tool_choice={"type": "function", "name": "time"},
            max_output_tokens="inf",
            truncation={"type": "retention_ratio", "retention_ratio": 0.8},
            prompt={"id": "pmpt_1", "variables": {"name": "Ada"}},
            reasoning={"effort": "low"},
        ),
    ),
    SessionUpdate(
        session=SessionConfig(audio={"input": {"turn_detection": None}}, tools=[], instructions="")
    ),
    ConversationItemCreate(
        previous_item_id="root",
        item=UserMessage(
            id="item_1",
            content=[
                ContentPart(type="input_text", text="Hello"),
                ContentPart(type="input_image", image_url="data:image/png;base64,AA==", detail="low"),
            ],
        ),
    ),
    ConversationItemCreate(
        item=SystemMessage(content=[ContentPart(type="input_text", text="Now in French.")])
    ),
    ConversationItemCreate(item=FunctionCallOutputItem(call_id="call_1", output="12:00")),
    ConversationItemCreate(
        item=McpApprovalResponseItem(id="a", approval_request_id="b", approve=False, reason="no")
    ),
    ConversationItemDelete(item_id="item_1"),
    ConversationItemRetrieve(item_id="item_1"),
    ConversationItemTruncate(item_id="item_1", content_index=0, audio_end_ms=1200),
    InputAudioBufferAppend(audio="AAAA"),
    InputAudioBufferCommit(),
    InputAudioBufferClear(),
    OutputAudioBufferClear(event_id="e2"),
    ResponseCreate(),
    ResponseCreate(
        response=ResponseParams(
            conversation="none",
            output_modalities=["text"],
            metadata={"topic": "weather"},
            input=[UserMessage(content=[ContentPart(type="input_text", text="Hi")])],
            tools=[FunctionTool(name="time")],
            max_output_tokens=100,
        )
    ),
    ResponseCancel(),
    ResponseCancel(response_id="resp_1"),
]


def test_every_client_event_is_built_here() -> None:
    assert {event.type for event in BUILT} == set(CLIENT_EVENTS)


@pytest.mark.parametrize("event", BUILT, ids=lambda event: event.type)
def test_a_client_event_built_by_us_validates_there(
    event: EventModel, client_models: dict[str, type[BaseModel]]
) -> None:
    message = to_wire(event)
    theirs = client_models[event.type].model_validate_json(json.dumps(message))
    assert theirs.model_dump(mode="json", exclude_unset=True) == message
    assert parse_client_event(json.dumps(message)).raw == message
