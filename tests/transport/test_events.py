"""Reading and writing events: what is kept, what is refused, and with which words."""

import copy
import json
import pickle
from typing import Any

import pytest
from pydantic import ValidationError

from rtc_transport.events import (
    AssistantMessage,
    ContentPart,
    ConversationItemAdded,
    ConversationItemCreate,
    ErrorEvent,
    EventModel,
    FunctionCallItem,
    Item,
    MalformedMessage,
    McpCallItem,
    McpServerTool,
    OutputAudioBufferCleared,
    RateLimitsUpdated,
    ResponseCancel,
    ResponseContentPartAdded,
    ResponseCreate,
    ResponseCreated,
    ResponseDone,
    ResponseOutputAudioTranscriptDelta,
    SessionUpdated,
    Tool,
    UnknownEvent,
    UserMessage,
    parse_client_event,
    parse_server_event,
    to_wire,
)
from rtc_transport.events.parse import MAX_NESTING

DELTA: dict[str, Any] = {
    "type": "response.output_audio_transcript.delta",
    "event_id": "event_1",
    "response_id": "resp_1",
    "item_id": "item_1",
    "output_index": 0,
    "content_index": 0,
    "delta": "Hé",
}


def parse(**message: Any) -> EventModel:
    return parse_server_event(json.dumps(message))


# What is kept


@pytest.mark.parametrize("encode", [str, str.encode])
def test_a_known_event_is_typed_from_text_and_from_bytes(encode: Any) -> None:
    event = parse_server_event(encode(json.dumps(DELTA, ensure_ascii=False)))
    assert isinstance(event, ResponseOutputAudioTranscriptDelta)
    assert (event.delta, event.item_id, event.response_id) == ("Hé", "item_1", "resp_1")


def test_unknown_fields_survive_on_every_level() -> None:
    message = {
        "type": "conversation.item.added",
        "new": {"deep": [1, None]},
        "item": {
            "type": "message",
            "role": "user",
            "mood": "good",
            "content": [{"type": "input_text", "text": "Hi", "bold": True}],
        },
    }
    event = parse(**message)
    assert isinstance(event, ConversationItemAdded)
    assert isinstance(event.item, UserMessage)
    assert event.item.content[0].text == "Hi"
    assert to_wire(event) == message
    assert event.raw == message


def test_raw_is_what_came_even_where_the_model_reads_it_otherwise() -> None:
    message = {**DELTA, "output_index": 1.0}
    event = parse(**message)
    assert isinstance(event, ResponseOutputAudioTranscriptDelta)
    assert event.output_index == 1
    assert isinstance(event.output_index, int)
    assert isinstance(event.raw["output_index"], float)


def test_wire_fields_cannot_replace_members_of_the_model() -> None:
    message = {
        **DELTA,
        "raw": 1,
        "_raw": 2,
        "_reason": 3,
        "model_dump": 4,
        "cls": 5,
        "self": 6,
        "__class__": 7,
    }
    event = parse(**message)
    assert type(event) is ResponseOutputAudioTranscriptDelta
    assert event.raw == to_wire(event) == message
    built = ResponseCancel.model_validate({"_raw": 2, "raw": 1})
    assert built.raw == {"type": "response.cancel", "_raw": 2, "raw": 1}


def test_null_and_unset_are_different_in_both_directions() -> None:
    item = {"type": "message", "role": "user", "content": []}
    first = parse(type="conversation.item.added", item=item, previous_item_id=None)
    unknown = parse(type="conversation.item.added", item=item)
    assert to_wire(first)["previous_item_id"] is None
    assert "previous_item_id" not in to_wire(unknown)
    assert to_wire(ResponseCancel(response_id=None)) == {"type": "response.cancel", "response_id": None}


def test_constants_of_a_class_travel_although_nobody_set_them() -> None:
    event = ConversationItemCreate(
        item=AssistantMessage(content=[ContentPart(type="output_text", text="Yes.")])
    )
    assert event.raw == {
        "type": "conversation.item.create",
        "item": {
            "type": "message",
            "role": "assistant",
            "content": [{"type": "output_text", "text": "Yes."}],
        },
    }
    assert next(iter(to_wire(event))) == "type"


def test_an_event_is_a_value() -> None:
    event, same = parse(**DELTA), parse(**DELTA)
    assert event == same
    assert event == ResponseOutputAudioTranscriptDelta(**DELTA)
    assert hash(event) == hash(same)
    assert pickle.loads(pickle.dumps(event)) == event
    assert copy.deepcopy(event) == event
    with pytest.raises(ValidationError, match="frozen"):
        event.event_id = "other"  # type: ignore[misc]  # that is what the test is about


def test_a_changed_copy_does_not_show_the_old_raw() -> None:
    event = parse(**DELTA)
    assert event.model_copy(update={"delta": "new"}).raw["delta"] == "new"
    assert event.raw["delta"] == "Hé"


def test_sequences_cannot_be_changed_in_a_frozen_event() -> None:
    parts = [ContentPart(type="input_text", text="a")]
    message = UserMessage(content=parts)
    parts.clear()
    assert message.content == (ContentPart(type="input_text", text="a"),)


# What is lenient


@pytest.mark.parametrize(
    ("message", "model"),
    [
        ({"type": "output_audio_buffer.cleared"}, OutputAudioBufferCleared),
        ({"type": "error", "error": {"message": "no"}}, ErrorEvent),
        ({"type": "session.updated", "session": {}}, SessionUpdated),
        ({"type": "response.created", "response": {"status": "pondering"}}, ResponseCreated),
        ({"type": "response.done", "response": {"status_details": {"reason": "new_reason"}}}, ResponseDone),
        ({"type": "rate_limits.updated", "rate_limits": [{"name": "sessions"}]}, RateLimitsUpdated),
        (
            {
                "type": "response.content_part.added",
                "response_id": "r",
                "item_id": "i",
                "part": {"type": "output_audio"},
            },
            ResponseContentPartAdded,
        ),
    ],
    ids=lambda value: value["type"] if isinstance(value, dict) else "",
)
def test_what_services_leave_out_or_add_does_not_cost_the_event(
    message: Any, model: type[EventModel]
) -> None:
    event = parse(**message)
    assert type(event) is model
    assert to_wire(event) == message


@pytest.mark.parametrize(
    ("item", "model"),
    [
        ({"type": "message", "role": "assistant", "content": [{"type": "audio"}]}, AssistantMessage),
        (
            {"type": "message", "role": "assistant", "content": [{"type": "text"}], "status": "new"},
            AssistantMessage,
        ),
        ({"type": "message", "role": "narrator", "content": "free form"}, Item),
        ({"type": "hologram", "id": "h", "depth": [1, 2]}, Item),
        ({"id": "nameless"}, Item),
        ({"type": ["odd"]}, None),
        (
            {"type": "mcp_tool_call", "id": "m", "name": "n", "arguments": "{}", "server_label": "s"},
            McpCallItem,
        ),
        ({"type": "function_call", "name": "f", "arguments": ""}, FunctionCallItem),
    ],
)
def test_items_of_known_and_unknown_kinds(item: dict[str, Any], model: type[Item] | None) -> None:
    event = parse(type="conversation.item.added", item=item)
    if model is None:
        assert isinstance(event, UnknownEvent)
    else:
        assert isinstance(event, ConversationItemAdded)
        assert type(event.item) is model
        assert to_wire(event.item) == item
    assert event.raw["item"] == item


def test_a_tool_of_an_unknown_kind_survives_in_a_session() -> None:
    session = {"tools": [{"type": "robot_arm", "reach": 2}], "voice": "beta"}
    event = parse(type="session.updated", session=session)
    assert isinstance(event, SessionUpdated)
    assert event.session.tools is not None
    assert type(event.session.tools[0]) is Tool
    assert to_wire(event.session) == session


def test_an_unknown_type_is_kept_whole() -> None:
    message = {"type": "response.smell.delta", "event_id": 5, "delta": "rose"}
    event = parse(**message)
    assert isinstance(event, UnknownEvent)
    assert event.reason is None
    assert event.raw == to_wire(event) == message


# What does not fit


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"delta": 5}, "delta: Input should be a valid string"),
        ({"item_id": None}, "item_id: Input should be a valid string"),
        (
            {"output_index": "first"},
            "output_index: Input should be a valid integer, unable to parse string as an integer",
        ),
        ({"output_index": 10**30}, "output_index: Input should be less than or equal to 9007199254740991"),
        ({"output_index": float("nan")}, "output_index: Input should be a finite number"),
    ],
)
def test_a_known_type_that_does_not_fit_is_kept_with_the_reason(change: dict[str, Any], reason: str) -> None:
    message = {**DELTA, **change}
    event = parse_server_event(json.dumps(message))
    assert isinstance(event, UnknownEvent)
    assert event.type == DELTA["type"]
    assert event.reason == reason
    assert json.dumps(event.raw) == json.dumps(message)


def test_the_reason_names_a_few_fields_and_quotes_nothing() -> None:
    event = parse(type="response.output_audio_transcript.delta", output_index="sk-secret")
    assert isinstance(event, UnknownEvent)
    assert event.reason == (
        "response_id: Field required; item_id: Field required; "
        "output_index: Input should be a valid integer, unable to parse string as an integer; 1 more"
    )


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (b'{"type": "error\xff"}', "not UTF-8 at byte 15"),
        ("", "not JSON: Expecting value at character 0"),
        ('{"type": ', "not JSON: Expecting value at character 9"),
        ('{"type": "a"} x', "not JSON: Extra data at character 14"),
        ("\ufeff{}", "not JSON: Unexpected UTF-8 BOM (decode using utf-8-sig) at character 0"),
        (json.dumps(DELTA).encode("utf-16"), "not UTF-8 at byte 0"),
        (
            json.dumps(DELTA).encode("utf-16-le"),
            "not JSON: Expecting property name enclosed in double quotes at character 1",
        ),
        ("[]", "not an object but list"),
        ("null", "not an object but NoneType"),
        ('"text"', "not an object but str"),
        ("{}", "no `type`"),
        ('{"type": null}', "no `type`"),
        ('{"type": 5}', "`type` is not a string"),
        ('{"type": "a", "n": ' + "9" * 5000 + "}", "a number with too many digits"),
        (
            '{"type": "a", "n": ' + "[" * 100_000 + "]" * 100_000 + "}",
            f"nested deeper than {MAX_NESTING} levels",
        ),
        ('{"type": "a", "\\ud800": 1}', "a field's name is not Unicode text"),
        ('{"type": "a", "b": [{"\ud800": 1}]}', "a field's name is not Unicode text"),
    ],
    ids=lambda value: repr(value[:24]),
)
def test_a_message_that_is_no_event_is_refused_in_one_line(message: str | bytes, reason: str) -> None:
    with pytest.raises(MalformedMessage) as caught:
        parse_server_event(message)
    assert caught.value.reason == reason
    assert caught.value.size == len(message)
    assert str(caught.value) == f"malformed message of length {len(message)}: {reason}"


def test_nesting_is_refused_where_it_could_not_be_written_again() -> None:
    def nested(levels: int) -> str:
        return '{"type": "a", "n": ' + "[" * (levels - 1) + "]" * (levels - 1) + "}"

    event = parse_server_event(nested(MAX_NESTING))
    assert to_wire(event) == event.raw == copy.deepcopy(event.raw)
    with pytest.raises(MalformedMessage, match="nested deeper than 128 levels"):
        parse_server_event(nested(MAX_NESTING + 1))
    brackets_in_text = json.dumps({**DELTA, "delta": "[" * 1000})
    assert isinstance(parse_server_event(brackets_in_text), ResponseOutputAudioTranscriptDelta)


def test_numbers_that_json_does_not_have_are_no_reason_to_refuse() -> None:
    event = parse_server_event('{"type": "a", "n": [NaN, Infinity, -Infinity, 1e999]}')
    assert event.raw["n"][1:] == [float("inf"), float("-inf"), float("inf")]


def test_half_a_character_passes_in_a_delta() -> None:
    event = parse_server_event(json.dumps({**DELTA, "delta": "\ud83d"}))
    assert isinstance(event, ResponseOutputAudioTranscriptDelta)
    assert to_wire(event)["delta"] == "\ud83d"


# The client's side


def test_client_events_from_a_mapping_are_typed_and_go_out_as_given() -> None:
    message = {"type": "response.create", "response": {"instructions": "", "later": 1}}
    event = parse_client_event(message)
    assert isinstance(event, ResponseCreate)
    assert event.raw == message


def test_models_inside_a_mapping_are_written_too() -> None:
    event = parse_client_event({"type": "conversation.item.create", "item": UserMessage(content=[])})
    assert event.raw["item"] == {"type": "message", "role": "user", "content": []}


def test_unknown_and_unfit_client_events_are_told_apart() -> None:
    unknown = parse_client_event({"type": "session.dream"})
    unfit = parse_client_event(b'{"type": "conversation.item.delete"}')
    assert isinstance(unknown, UnknownEvent)
    assert isinstance(unfit, UnknownEvent)
    assert (unknown.reason, unfit.reason) == (None, "item_id: Field required")
    with pytest.raises(MalformedMessage, match="no `type`"):
        parse_client_event({"session": {}})


def test_what_json_does_not_have_cannot_be_sent() -> None:
    circle: dict[str, Any] = {"type": "session.dream"}
    circle["of"] = circle
    with pytest.raises(
        TypeError, match="UnknownEvent cannot be written as JSON: Circular reference detected"
    ):
        to_wire(parse_client_event(circle))
    event = parse_client_event({"type": "session.dream", "of": object()})
    with pytest.raises(TypeError, match=r"UnknownEvent cannot be written as JSON: .*<class 'object'>"):
        to_wire(event)
    with pytest.raises(MalformedMessage, match="a field's name is not Unicode text"):
        parse_client_event({"type": "session.dream", "\ud800": 1})


# What is shown


def test_repr_shows_what_was_given_and_no_secret() -> None:
    assert repr(ResponseCancel(response_id="r")) == "ResponseCancel(type='response.cancel', response_id='r')"
    tool = McpServerTool(server_label="s", authorization="sk-secret", headers={"X-Key": "sk-secret"})
    assert to_wire(tool)["authorization"] == "sk-secret"
    assert repr(tool) == "McpServerTool(type='mcp', server_label='s')"
    unfit = parse(type="session.updated", session={"tools": [{"type": "mcp", "authorization": "sk-secret"}]})
    assert repr(unfit) == (
        "UnknownEvent(type='session.updated', "
        "reason='session.tools.0.McpServerTool.server_label: Field required')"
    )
    with pytest.raises(ValidationError) as caught:
        McpServerTool.model_validate({"authorization": ["sk-secret"]})
    assert "sk-secret" not in str(caught.value)
