from typing import Any

import pytest

from rtc_transport.cli.minutes import Minutes


def minutes_of(*events: dict[str, Any]) -> Minutes:
    minutes = Minutes()
    for event in events:
        minutes.server_event(event)
    return minutes


def test_a_turn_of_speech_and_its_answer() -> None:
    minutes = minutes_of(
        {"type": "input_audio_buffer.speech_started", "item_id": "u", "audio_start_ms": 100},
        {"type": "input_audio_buffer.speech_stopped", "item_id": "u", "audio_end_ms": 4600},
        {"type": "response.output_audio_transcript.delta", "item_id": "a", "delta": "Hello "},
        {"type": "response.output_audio_transcript.delta", "item_id": "a", "delta": "there"},
        {"type": "response.output_audio_transcript.done", "item_id": "a", "transcript": "Hello there."},
        {"type": "response.done", "response": {"status": "completed", "output": [{"id": "a"}]}},
        {
            "type": "conversation.item.input_audio_transcription.completed",
            "item_id": "u",
            "transcript": "Hi!",
        },
    )
    user, model = minutes.lines
    assert (user.speaker, user.text, user.seconds) == ("user", "Hi!", 4.5)
    assert (model.speaker, model.text, model.cut) == ("model", "Hello there.", False)
    assert minutes.responses == 1


def test_speech_that_nobody_wrote_down_has_no_text() -> None:
    (line,) = minutes_of(
        {"type": "input_audio_buffer.speech_started", "item_id": "u", "audio_start_ms": 0},
    ).lines
    assert line.as_dict() == {"speaker": "user", "text": None, "seconds": None, "cut": False}


def test_an_interrupted_answer_is_marked() -> None:
    (line,) = minutes_of(
        {"type": "response.output_audio_transcript.delta", "item_id": "a", "delta": "As I was say"},
        {"type": "response.done", "response": {"status": "cancelled", "output": [{"id": "a"}]}},
    ).lines
    assert (line.text, line.cut) == ("As I was say", True)


@pytest.mark.parametrize(
    ("details", "reason"),
    [
        ({"error": {"code": "insufficient_quota", "message": "Pay first."}}, "Pay first."),
        ({"type": "failed", "error": {"code": "rate_limit_exceeded"}}, "rate_limit_exceeded"),
        (None, "the service gives no reason"),
    ],
)
def test_a_failed_response_says_why_until_another_one_succeeds(details: object, reason: str) -> None:
    failed = {"status": "failed", "output": [], "status_details": details}
    minutes = minutes_of({"type": "response.done", "response": failed})
    assert minutes.failure == reason
    minutes.server_event({"type": "response.done", "response": {"status": "completed", "output": []}})
    assert minutes.failure is None


def test_written_answers_and_function_calls_are_lines_too() -> None:
    minutes = minutes_of(
        {"type": "response.output_text.done", "item_id": "t", "text": "written"},
        {
            "type": "response.output_item.done",
            "item": {"type": "function_call", "id": "f", "name": "weather", "arguments": '{"city":"Bonn"}'},
        },
    )
    assert [line.text for line in minutes.lines] == ["written", 'weather({"city":"Bonn"})']


def test_events_of_unknown_shape_are_ignored() -> None:
    events: list[dict[str, Any]] = [
        {},
        {"type": "response.done", "response": None},
        {"type": "response.output_text.done", "item_id": "t", "text": 4},
        {"type": "input_audio_buffer.speech_stopped", "item_id": 7},
    ]
    assert minutes_of(*events).lines == []


def test_a_conversation_of_any_length_stays_bounded() -> None:
    minutes = Minutes()
    for number in range(20_000):
        minutes.server_event({"type": "response.output_text.delta", "item_id": str(number), "delta": "x"})
    assert len(minutes.lines) == 10_000
