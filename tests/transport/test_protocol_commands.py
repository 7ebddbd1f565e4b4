"""The application's commands: the events they become, and what is refused before anything changes."""

import base64
import json
import logging
from typing import Any, get_args

import pytest
from pydantic import TypeAdapter

from rtc_transport.errors import ConfigError, EventTooLarge, SendQueueFull
from rtc_transport.events.client import InputAudioBufferCommit, ResponseCreate
from rtc_transport.events.responses import ResponseParams
from rtc_transport.events.transport import FunctionCall, McpApprovalRequest
from rtc_transport.protocol.messages import APPEND_LIMIT_BYTES
from support.conversation import Scripted

CALL = FunctionCall(call_id="c", name="look", arguments="{}")
APPROVAL = McpApprovalRequest(item_id="m", server_label="docs", name="find", arguments="{}")


def connected() -> Scripted:
    return Scripted().connect()


def content(event: dict[str, Any]) -> Any:
    return event["item"]["content"]


def test_a_text_message_asks_for_a_response() -> None:
    call = connected()
    call.core.send_message("Hello")
    create, request = call.sent()
    assert create["item"] == {
        "type": "message",
        "role": "user",
        "content": [{"type": "input_text", "text": "Hello"}],
    }
    assert request["type"] == "response.create"


def test_a_message_without_a_response() -> None:
    call = connected()
    call.core.send_message("Hello", trigger_response=False)
    assert call.sent_types() == ["conversation.item.create"]


def test_a_mixed_message_and_extra_event_data() -> None:
    call = connected()
    parts = [
        {"type": "input_text", "text": "What is this?"},
        {"type": "input_image", "image": "data:,x", "detail": "low"},
    ]
    call.core.send_message(parts, {"event_id": "mine", "previous_item_id": "root"}, trigger_response=False)
    (create,) = call.sent()
    assert (create["event_id"], create["previous_item_id"]) == ("mine", "root")
    assert content(create) == [parts[0], {"type": "input_image", "image_url": "data:,x", "detail": "low"}]


def test_a_message_object_with_a_role() -> None:
    call = connected()
    call.core.send_message(
        {"type": "message", "role": "system", "content": "Be kind."}, trigger_response=False
    )
    call.core.send_message({"role": "assistant", "content": "I am."}, trigger_response=False)
    system, assistant = call.sent()
    assert system["item"]["role"] == "system"
    assert content(system) == [{"type": "input_text", "text": "Be kind."}]
    assert content(assistant) == [{"type": "output_text", "text": "I am."}]


def test_an_image_is_a_message() -> None:
    call = connected()
    call.core.add_image("https://example.com/cat.png")
    create, request = call.sent()
    assert content(create) == [{"type": "input_image", "image_url": "https://example.com/cat.png"}]
    assert request["type"] == "response.create"


def test_a_functions_output_asks_for_a_response_unless_told_not_to() -> None:
    call = connected()
    call.core.send_function_call_output(CALL, "42")
    call.core.send_function_call_output(CALL, "43", start_response=False)
    sent = call.sent()
    assert [event["type"] for event in sent] == [
        "conversation.item.create",
        "response.create",
        "conversation.item.create",
    ]
    assert sent[0]["item"] == {"type": "function_call_output", "call_id": "c", "output": "42"}


def test_an_mcp_answer_stands_behind_its_question_and_asks_for_nothing() -> None:
    call = connected()
    call.core.send_mcp_response(APPROVAL, False, "no need")
    call.core.send_mcp_response(APPROVAL, True)
    no, yes = call.sent()
    assert no["previous_item_id"] == "m"
    item = {
        "type": "mcp_approval_response",
        "approval_request_id": "m",
        "approve": False,
        "reason": "no need",
    }
    assert {name: value for name, value in no["item"].items() if name != "id"} == item
    assert "reason" not in yes["item"]


@pytest.mark.parametrize("size", [0, 2, 12_252, 12_254, 48_000, 1_000_000])
def test_audio_of_any_length_goes_in_small_pieces_of_whole_samples(size: int) -> None:
    call = connected()
    audio = bytes(range(256)) * (size // 256) + bytes(size % 256)
    call.core.send_audio(audio, commit=True)
    *appends, commit = call.sent()
    assert commit == {"type": "input_audio_buffer.commit"}
    pieces = [base64.b64decode(event["audio"], validate=True) for event in appends]
    assert b"".join(pieces) == audio
    assert all(len(piece) % 2 == 0 for piece in pieces)
    assert all(len(json.dumps(event, separators=(",", ":"))) <= APPEND_LIMIT_BYTES for event in appends)
    assert len(appends) == -(-size // 12_252)


def test_audio_may_be_any_buffer() -> None:
    call = connected()
    call.core.send_audio(bytearray(b"\1\2"))
    call.core.send_audio(memoryview(b"\1\2"))
    first, second = call.sent()
    assert first == second


def test_half_a_sample_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^3 bytes of audio are no whole number of 16-bit samples$"):
        connected().core.send_audio(b"abc")


def test_a_sample_is_what_the_session_says() -> None:
    call = Scripted().connect(audio={"input": {"format": {"type": "audio/pcmu"}}})
    call.core.send_audio(b"abc")
    assert call.sent()[0]["audio"] == "YWJj"
    call.core.update_session_config({"audio": {"input": {"format": {"type": "audio/pcm", "rate": 24000}}}})
    with pytest.raises(ValueError, match="16-bit"):
        call.core.send_audio(b"abc")  # it will be heard in the new format


def test_audio_that_is_no_buffer_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^audio is bytes in the session's input format, not int$"):
        connected().core.send_audio(5)  # type: ignore[arg-type]  # what is tested


def test_audio_beside_an_unmuted_source_is_warned_of_once(caplog: pytest.LogCaptureFixture) -> None:
    call = connected()
    with caplog.at_level(logging.WARNING, "rtc_transport.protocol"):
        call.core.send_audio(b"\0\0")
        assert caplog.text == ""
        call.core.send_audio(b"\0\0", source_active=True)
        call.core.send_audio(b"\0\0", source_active=True)
    assert caplog.text.count("shares the service's input buffer with an audio source that is not muted") == 1


def test_more_audio_than_the_queue_holds_is_refused_as_a_whole() -> None:
    call = connected()
    with pytest.raises(SendQueueFull, match=r"await drain\(\) before sending more$"):
        call.core.send_audio(bytes(14_000_000))
    assert call.core.queued_events == 0


def test_a_raw_append_is_cut_too_and_keeps_its_fields() -> None:
    call = connected()
    audio = base64.b64encode(bytes(30_000)).decode()
    call.core.send_event({"type": "input_audio_buffer.append", "event_id": "mine", "audio": audio}, 0.0)
    sent = call.sent()
    assert len(sent) == 3
    assert {event["event_id"] for event in sent} == {"mine"}
    assert b"".join(base64.b64decode(event["audio"]) for event in sent) == bytes(30_000)


@pytest.mark.parametrize("audio", ["AAAA", "?" * 20_000, 5])
def test_a_raw_append_that_cannot_be_cut_is_left_to_the_service(audio: Any) -> None:
    call = connected()
    event = {"type": "input_audio_buffer.append", "audio": audio}
    call.core.send_event(event, 0.0)
    assert call.sent() == [event]


def test_a_raw_event_is_sent_as_it_is() -> None:
    call = connected()
    event = {"type": "conversation.item.retrieve", "item_id": "a", "new_field": None}
    call.core.send_event(event, 0.0)
    call.core.send_event(InputAudioBufferCommit(), 0.0)
    assert call.sent() == [event, {"type": "input_audio_buffer.commit"}]


def test_a_model_of_a_response_create_is_a_request() -> None:
    call = connected()
    call.core.send_event(ResponseCreate(response=ResponseParams(instructions="x")), 0.0)
    call.core.request_response(ResponseParams(instructions="y").model_dump(exclude_unset=True))
    (create,) = call.sent()
    assert create["response"]["instructions"] == "x"
    assert call.core.waiting_requests == 1


def test_a_raw_cancel_of_nonsense_is_left_to_the_service() -> None:
    call = connected()
    call.respond("r1")
    call.core.send_event({"type": "response.cancel", "response_id": ["r1"]}, 0.0)
    assert call.sent() == [{"type": "response.cancel", "response_id": ["r1"]}]


def test_a_model_that_json_cannot_say_is_refused() -> None:
    event = ResponseCreate(response=ResponseParams.model_validate({"extra": object()}))
    with pytest.raises(ValueError, match=r"^ResponseCreate cannot be written as JSON: "):
        connected().core.send_event(event, 0.0)


def test_the_applications_objects_are_not_changed() -> None:
    call = connected()
    event: dict[str, Any] = {"type": "response.create", "response": {"metadata": {}}}
    call.core.send_event(event, 0.0)
    assert event == {"type": "response.create", "response": {"metadata": {}}}


@pytest.mark.parametrize(
    ("command", "text"),
    [
        (lambda core: core.send_message([]), "a message is text, a list of content parts that is not empty"),
        (lambda core: core.send_message(5), "a message is text, a list of content parts"),
        (
            lambda core: core.send_message({"role": "robot", "content": "x"}),
            "a message's role is one of user, ",
        ),
        (lambda core: core.send_message([{"text": "x"}]), "a content part is an object with a `type`"),
        (
            lambda core: core.send_message([{"type": "input_image"}]),
            "an input_image part needs an `image_url`",
        ),
        (
            lambda core: core.send_message("x", {"type": "y"}),
            "other_event_data cannot change the event's type",
        ),
        (lambda core: core.add_image(""), "an input_image part needs an `image_url`"),
        (lambda core: core.send_event({}, 0.0), "an event needs a `type`"),
        (
            lambda core: core.send_event("response.create", 0.0),
            "an event is a client event or a mapping, not str",
        ),
        (lambda core: core.send_event({"type": "x", "a": {1}}, 0.0), "x cannot be written as JSON: "),
        (
            lambda core: core.send_function_call_output(CALL, {"x": 1}),
            "a function's output is text and names the call: ",
        ),
        (
            lambda core: core.request_response({"temperature": object()}),
            "response.create cannot be written as JSON",
        ),
    ],
)
def test_nonsense_is_refused_in_one_line_and_changes_nothing(command: Any, text: str) -> None:
    call = connected()
    with pytest.raises(ValueError) as caught:
        command(call.core)
    assert str(caught.value).startswith(text)
    assert (call.sent(), call.core.waiting_requests, call.core.holds(10**9)) == ([], 0, False)


def test_a_message_whose_request_has_no_room_is_not_queued_either() -> None:
    call = connected()
    for _ in range(999):
        call.core.send_message("x", trigger_response=False)
    with pytest.raises(SendQueueFull):
        call.core.send_message("x")
    assert call.core.queued_events == 999


def test_an_event_over_the_limit_is_refused_before_it_is_queued() -> None:
    call = Scripted()
    from rtc_transport.session import SessionConfig

    call.core.open(SessionConfig(), 0.0, limit=1000)
    with pytest.raises(EventTooLarge):
        call.core.send_message("x" * 1000)
    assert call.core.queued_events == 0


# The session


def test_only_what_was_given_travels() -> None:
    call = connected()
    call.core.update_session_config({"audio": {"input": {"turn_detection": None}}, "tools": []})
    (update,) = call.sent()
    assert update["session"] == {
        "type": "realtime",
        "audio": {"input": {"turn_detection": None}},
        "tools": [],
    }


def refused(call: Scripted, field: str, **update: Any) -> None:
    with pytest.raises(ConfigError) as caught:
        call.core.update_session_config(update)
    assert caught.value.field == field
    assert call.sent() == []


def test_another_model_is_refused_and_the_same_is_not_sent() -> None:
    call = connected()
    refused(call, "model", model="gpt-other")
    call.core.update_session_config({"model": "gpt-realtime", "instructions": "x"})
    assert call.sent()[0]["session"] == {"type": "realtime", "instructions": "x"}


def test_the_voice_can_change_until_it_is_heard() -> None:
    call = Scripted().connect(audio={"output": {"voice": "marin"}})
    update = {"audio": {"output": {"voice": "ash"}}}
    call.core.update_session_config(update)
    call.sent()
    call.hear("session.updated", session={"type": "realtime", **update})
    call.speak("r1", "i1")
    refused(call, "audio.output.voice", audio={"output": {"voice": "marin"}})
    call.core.update_session_config(update)


def test_tracing_cannot_change_once_it_is_asked_for() -> None:
    call = connected()
    call.core.update_session_config({"tracing": "auto"})
    assert call.sent_types() == ["session.update"]
    refused(call, "tracing", tracing=None)  # although the answer is still to come


def test_old_names_are_taken_with_a_warning() -> None:
    call = connected()
    with pytest.warns(DeprecationWarning, match="turn_detection"):
        call.core.update_session_config({"turn_detection": None})
    assert call.sent()[0]["session"]["audio"] == {"input": {"turn_detection": None}}


def test_everything_we_send_is_in_the_published_schema() -> None:
    from openai.types.realtime import RealtimeClientEvent  # 1.4 s: only here

    call = connected()
    core = call.core
    call.speak("r0", "i0")
    core.send_message("Hello", {"event_id": "mine"})
    core.send_message([{"type": "input_image", "image": "data:,x"}])
    core.send_audio(bytes(40_000), commit=True)
    core.send_function_call_output(CALL, "42")
    core.send_mcp_response(APPROVAL, True, "fine")
    core.update_session_config(
        {"instructions": "x", "tools": [], "audio": {"input": {"turn_detection": None}}}
    )
    user = {"id": "u", "type": "message", "role": "user", "content": [{"type": "input_text", "text": "x"}]}
    core.reset_history([{"id": "a", "type": "message"}], [user])
    call.now = 1.0
    core.interrupt(1.0, call.playback._replace(playing=True, played_ms=5, received_ms=9), truncate=True)
    core.request_response({"conversation": "none", "instructions": "x"})
    call.finish("r0")
    adapter: TypeAdapter[Any] = TypeAdapter(RealtimeClientEvent)
    sent = call.sent()
    for event in sent:
        adapter.validate_python(event)
    known = {
        get_args(model.model_fields["type"].annotation)[0]
        for model in get_args(get_args(RealtimeClientEvent)[0])
    }
    assert known - {event["type"] for event in sent} == {
        "conversation.item.retrieve",  # never needed
        "input_audio_buffer.clear",  # raw only
    }
