"""The payloads of the transport's own events."""

import numpy as np
import pytest
from pydantic import ValidationError

from rtc_transport.events import (
    TRANSPORT_EVENTS,
    Audio,
    AudioInterrupted,
    ErrorReport,
    ItemUpdate,
    Mismatch,
    ResponseDone,
    SessionUpdateMismatch,
    TurnDone,
    UserMessage,
    parse_server_event,
)

AGENTS_JS = [
    "error",
    "function_call",
    "audio",
    "audio_interrupted",
    "audio_transcript_delta",
    "output_text_delta",
    "audio_done",
    "usage_update",
    "item_update",
    "item_deleted",
    "connection_change",
    "turn_started",
    "turn_done",
    "mcp_tool_call_completed",
    "mcp_approval_request",
    "mcp_tools_listed",
    "connected",
    "disconnected",
]
OURS = [
    "input_speech_started",
    "input_speech_stopped",
    "input_transcript_delta",
    "input_transcript_done",
    "source_ended",
    "stats",
    "session_update_mismatch",
    "session_expiring",
    "device_lost",
    "device_silent",
    "device_restored",
    "device_changed",
    "device_overflow",
    "device_underrun",
    "device_fault",
]


def test_the_names_are_those_of_the_javascript_layer_and_ours() -> None:
    assert set(TRANSPORT_EVENTS) >= {*AGENTS_JS, *OURS}


def test_there_is_a_payload_for_whatever_a_device_reports() -> None:
    from typing import get_args

    from rtc_audio.devices import DeviceEventKind

    assert set(get_args(DeviceEventKind)) == {name for name in TRANSPORT_EVENTS if name.startswith("device_")}


def test_no_name_is_taken_by_a_server_event_but_error() -> None:
    from rtc_transport.events import SERVER_EVENTS

    assert set(TRANSPORT_EVENTS) & set(SERVER_EVENTS) == {"error"}


def test_a_payload_is_frozen_and_takes_no_field_it_does_not_have() -> None:
    event = AudioInterrupted(item_id="item_1", audio_end_ms=1200, by="user")
    with pytest.raises(ValidationError, match="frozen"):
        event.by = "server"  # type: ignore[misc]  # that is what the test is about
    with pytest.raises(ValidationError, match="playedMs"):
        AudioInterrupted.model_validate({"by": "user", "playedMs": 5})


def test_audio_passes_its_samples_untouched_and_equals_itself_only() -> None:
    pcm = np.zeros((480, 1), np.float32)
    event = Audio(pcm=pcm, rate_hz=48000, item_id="item_1")
    assert event.pcm is pcm
    assert event == event
    assert event != Audio(pcm=pcm, rate_hz=48000, item_id="item_1")
    assert len({event}) == 1


def test_an_error_report_holds_the_exception_but_does_not_dump_it() -> None:
    error = ValueError("no")
    report = ErrorReport(message="no", source="handler", error=error)
    assert report.error is error
    assert report.model_dump(mode="json") == {
        "type": "error",
        "message": "no",
        "source": "handler",
        "code": None,
        "event_id": None,
        "event": None,
    }


def test_an_unknown_place_and_the_first_place_are_different() -> None:
    item = UserMessage(content=[])
    assert "previous_item_id" not in ItemUpdate(item=item).model_fields_set
    assert "previous_item_id" in ItemUpdate(item=item, previous_item_id=None).model_fields_set


def test_what_a_server_event_carries_goes_into_a_payload_as_it_is() -> None:
    done = parse_server_event(
        '{"type": "response.done", "response": {"id": "r", "status": "cancelled", "usage": {"total_tokens": 3},'
        ' "status_details": {"reason": "turn_detected"},'
        ' "output": [{"type": "message", "role": "assistant", "content": [], "new": 1}, {"type": "later", "x": 2}]}}'
    )
    assert isinstance(done, ResponseDone)
    response = done.response
    assert response.output is not None
    event = TurnDone(
        response_id=response.id, status=response.status, output=response.output, usage=response.usage
    )
    assert event.output == response.output
    assert event.usage is response.usage
    assert event.model_dump(mode="json", exclude_unset=True)["output"] == done.raw["response"]["output"]


def test_mismatches_are_named_tuples() -> None:
    event = SessionUpdateMismatch(fields=[Mismatch("audio.output.voice", "ash", None)])
    (field,) = event.fields
    assert (field.path, field.requested, field.got) == ("audio.output.voice", "ash", None)
    assert isinstance(field, Mismatch)
