import pytest

from rtc_transport.cli.ending import EndOfCall


def voice(end: EndOfCall, start: float, done: float, stopped: float, response_id: str = "resp_1") -> None:
    end.server_event({"type": "response.created", "response": {"id": response_id}}, start)
    end.server_event({"type": "output_audio_buffer.started", "response_id": response_id}, start)
    end.server_event({"type": "response.done", "response": {"id": response_id, "status": "completed"}}, done)
    end.server_event({"type": "output_audio_buffer.stopped", "response_id": response_id}, stopped)


def speech(end: EndOfCall, started: float, stopped: float) -> None:
    end.server_event({"type": "input_audio_buffer.speech_started", "item_id": "item_1"}, started)
    end.server_event({"type": "input_audio_buffer.speech_stopped", "item_id": "item_1"}, stopped)


def test_a_call_goes_on_while_the_source_speaks() -> None:
    end = EndOfCall(linger_seconds=10)
    assert end.check(1000.0) is None


def test_it_ends_when_the_answer_to_the_file_has_been_played() -> None:
    end = EndOfCall()
    speech(end, 0.5, 5.0)
    end.source_ended(4.4)
    assert end.check(5.0) is None
    voice(end, start=5.1, done=5.5, stopped=9.6)
    assert end.check(9.6, playout_seconds=0.2) is None
    assert end.check(9.8, playout_seconds=0.2) == "answered"


def test_the_voice_is_waited_for_although_the_response_is_done() -> None:
    end = EndOfCall(linger_seconds=1)
    end.source_ended(1.0)
    end.server_event({"type": "response.created", "response": {"id": "r"}}, 1.0)
    end.server_event({"type": "output_audio_buffer.started", "response_id": "r"}, 1.1)
    end.server_event({"type": "response.done", "response": {"id": "r"}}, 1.2)
    assert end.sounding
    assert end.check(500.0) is None
    end.server_event({"type": "output_audio_buffer.cleared", "response_id": "r"}, 500.0)
    assert end.check(500.0) == "answered"


def test_an_answer_in_text_ends_the_call_too() -> None:
    end = EndOfCall()
    end.source_ended(1.0)
    end.server_event({"type": "response.created", "response": {"id": "r"}}, 1.1)
    end.server_event({"type": "response.done", "response": {"id": "r"}}, 3.0)
    assert end.check(3.0) == "answered"


def test_without_any_answer_it_lingers_and_says_so() -> None:
    end = EndOfCall(linger_seconds=10)
    end.source_ended(4.0)
    assert end.check(13.9) is None
    assert end.check(14.0) == "no_answer"


def test_the_wait_for_an_answer_counts_from_the_last_speech() -> None:
    end = EndOfCall(linger_seconds=10)
    end.source_ended(4.0)
    speech(end, 3.9, 6.0)
    assert end.check(15.9) is None
    assert end.check(16.0) == "no_answer"


def test_an_answer_during_the_file_is_not_the_last_word() -> None:
    end = EndOfCall(linger_seconds=10)
    voice(end, start=2.0, done=2.5, stopped=3.0)
    end.source_ended(8.0)
    assert end.check(8.0) is None, "the last words may not have been noticed yet"
    speech(end, 8.2, 8.9)
    assert end.check(9.5) is None
    voice(end, start=9.6, done=9.7, stopped=11.0, response_id="resp_2")
    assert end.check(11.0) == "answered"


def test_silence_at_the_end_of_the_file_needs_no_further_answer() -> None:
    end = EndOfCall(linger_seconds=10)
    voice(end, start=2.0, done=2.5, stopped=3.0)
    end.source_ended(8.0)
    assert end.check(9.0) == "answered"


@pytest.mark.parametrize("source_ended", [True, False])
def test_the_longest_duration_ends_everything(source_ended: bool) -> None:
    end = EndOfCall(max_seconds=5)
    if source_ended:
        end.source_ended(1.0)
    end.server_event({"type": "response.created", "response": {"id": "r"}}, 1.1)
    assert end.check(4.9) is None
    assert end.check(5.0) == "max_duration"


def test_events_of_unknown_shape_are_ignored() -> None:
    end = EndOfCall()
    end.source_ended(0.0)
    for event in ({}, {"type": "response.created"}, {"type": 3}, {"type": "response.done", "response": "x"}):
        end.server_event(event, 1.0)
    assert end.check(10.0) == "no_answer"
