"""interrupt() and the service's barge-in: one test per sentence of the rules."""

from collections.abc import Callable

import pytest

from rtc_transport.errors import ResponseFailed
from rtc_transport.events.transport import AudioInterrupted
from rtc_transport.protocol.effects import Effect, MarkVoice, Playback, ResumePlayout, StopPlayout
from rtc_transport.protocol.interruption import DROP_SECONDS
from support.conversation import Scripted, deeds, emitted, outcomes

CLEAR = "output_audio_buffer.clear"
HEARD = Playback(played_ms=1000, received_ms=1400, playing=True)


def speaking() -> Scripted:
    """The voice of r1 has played for a second."""
    call = Scripted().connect()
    call.speak("r1", "i1")
    call.playback, call.now = HEARD, 10.0
    return call


def interruptions(effects: list[Effect]) -> list[AudioInterrupted]:
    return emitted(effects, "audio_interrupted")


def test_the_start_of_a_voice_marks_its_place() -> None:
    call = Scripted().connect()
    assert deeds(call.speak("r1", "i1")) == [MarkVoice("r1", "i1")]


def test_interrupt_cancels_what_runs_and_clears() -> None:
    call = speaking()
    call.interrupt()
    cancel, clear = call.sent()
    assert (cancel["type"], cancel["response_id"]) == ("response.cancel", "r1")
    assert clear["type"] == CLEAR


def test_interrupt_always_clears_and_cancels_only_what_runs() -> None:
    call = speaking()
    call.finish("r1")  # all is generated, and still plays
    call.interrupt()
    assert call.sent_types() == [CLEAR]


def test_a_second_interrupt_sends_no_second_cancel() -> None:
    call = speaking()
    call.interrupt()
    call.interrupt()
    assert call.sent_types() == ["response.cancel", CLEAR, CLEAR]


def test_interrupt_flushes_and_tells_what_was_heard() -> None:
    call = speaking()
    effects = call.interrupt()
    assert deeds(effects) == [StopPlayout(10.0 + DROP_SECONDS)]
    assert interruptions(effects) == [
        AudioInterrupted(item_id="i1", response_id="r1", audio_end_ms=1000, by="user")
    ]


def test_nothing_is_dropped_when_nothing_is_heard() -> None:
    call = Scripted().connect()
    effects = call.interrupt()
    assert deeds(effects) == [StopPlayout(None)]
    assert interruptions(effects) == [AudioInterrupted(by="user")]
    assert call.sent_types() == [CLEAR]
    assert call.core.deadline is None


def test_a_voice_that_was_sent_and_still_plays_is_heard() -> None:
    call = speaking()
    call.finish("r1")
    call.hear("output_audio_buffer.stopped", response_id="r1")
    (stop, *_) = call.interrupt()
    assert stop == StopPlayout(10.0 + DROP_SECONDS)


def test_a_voice_that_has_ended_is_not_heard() -> None:
    call = speaking()
    call.finish("r1")
    call.hear("output_audio_buffer.stopped", response_id="r1")
    call.playback = Playback(1400, 1400, playing=False)
    effects = call.interrupt()
    assert deeds(effects) == [StopPlayout(None)]
    assert interruptions(effects)[0].item_id is None


def test_dropping_ends_with_cleared_which_tells_nothing_again() -> None:
    call = speaking()
    call.interrupt()
    effects = call.hear("output_audio_buffer.cleared", response_id="r1")
    assert deeds(effects) == [ResumePlayout()]
    assert interruptions(effects) == []
    assert call.core.deadline is None


def test_dropping_ends_with_a_newer_voice() -> None:
    call = speaking()
    call.interrupt()
    call.finish("r1", "cancelled", "client_cancelled")
    assert deeds(call.speak("r2", "i2")) == [ResumePlayout(), MarkVoice("r2", "i2")]


def test_dropping_ends_after_half_a_second() -> None:
    call = speaking()
    call.interrupt()
    assert call.core.deadline == 10.5
    assert call.core.tick(10.4) == []
    assert call.core.tick(10.5) == [ResumePlayout()]
    assert call.core.deadline is None


def test_the_voice_of_a_response_that_was_cut_off_stays_unheard() -> None:
    call = Scripted().connect()
    call.respond("r1")
    call.interrupt()
    assert deeds(call.hear("output_audio_buffer.started", response_id="r1")) == [StopPlayout(DROP_SECONDS)]
    assert deeds(call.hear("output_audio_buffer.cleared", response_id="r1")) == [ResumePlayout()]


def test_a_request_under_way_is_cancelled_when_its_response_starts() -> None:
    call = Scripted().connect()
    waiter, _ = call.core.request_response()
    (create,) = call.sent()
    assert outcomes(call.interrupt()) == {}
    assert call.sent_types() == [CLEAR]
    call.respond("r1", create=create)
    cancel, clear = call.sent()
    assert (cancel["response_id"], clear["type"]) == ("r1", CLEAR)
    assert deeds(call.hear("output_audio_buffer.started", response_id="r1")) == [StopPlayout(DROP_SECONDS)]
    cleared = call.hear("output_audio_buffer.cleared", response_id="r1")
    assert interruptions(cleared) == []
    assert outcomes(call.finish("r1", "cancelled", "client_cancelled"))[waiter].status == "cancelled"


def test_requests_that_have_not_gone_out_are_withdrawn() -> None:
    call = speaking()
    waiter, _ = call.core.request_response({})
    call.core.send_message("and then?")
    failure = outcomes(call.interrupt())[waiter]
    assert isinstance(failure, ResponseFailed)
    assert (str(failure), failure.code) == ("the request was withdrawn by interrupt()", "interrupted")
    call.finish("r1", "cancelled", "client_cancelled")
    assert call.sent_types() == ["conversation.item.create", "response.cancel", CLEAR]


def test_a_request_in_the_channels_queue_is_withdrawn_too() -> None:
    call = Scripted().connect()
    waiter, _ = call.core.request_response()
    assert list(outcomes(call.interrupt())) == [waiter]
    assert call.sent_types() == [CLEAR]
    call.core.request_response()
    assert call.sent_types() == ["response.create"]


def test_no_truncate_unless_asked() -> None:
    call = speaking()
    call.interrupt(truncate=True)
    cut = call.sent()[-1]
    expected = {
        "type": "conversation.item.truncate",
        "item_id": "i1",
        "content_index": 0,
        "audio_end_ms": 1000,
    }
    assert cut == expected


@pytest.mark.parametrize(("played", "received", "told"), [(1400, 1350, 1350), (-3, 100, 0), (0, 0, 0)])
def test_a_truncation_is_not_longer_than_what_came_in(played: int, received: int, told: int) -> None:
    call = speaking()
    call.playback = Playback(played, received, playing=True)
    effects = call.interrupt(truncate=True)
    assert call.sent()[-1]["audio_end_ms"] == told
    assert interruptions(effects)[0].audio_end_ms == told


def test_nothing_is_truncated_when_nothing_is_heard() -> None:
    call = Scripted().connect()
    call.interrupt(truncate=True)
    assert call.sent_types() == [CLEAR]


def test_interrupt_overtakes_audio_that_waits() -> None:
    call = speaking()
    call.core.send_audio(bytes(60_000))
    call.interrupt(truncate=True)
    assert call.sent_types()[:3] == ["response.cancel", CLEAR, "conversation.item.truncate"]


def test_a_cancel_that_crosses_the_end_of_its_response_is_no_fault() -> None:
    call = speaking()
    call.interrupt()
    event_id = call.sent()[0]["event_id"]
    error = {"code": "response_cancel_not_active", "message": "none", "event_id": event_id, "type": "x"}
    assert emitted(call.hear("error", error=error), "error") == []
    error["event_id"] = "mine"
    assert len(emitted(call.hear("error", error=error), "error")) == 1


# The service cuts off


@pytest.mark.parametrize("first", ["cleared", "done"])
def test_barge_in_takes_the_same_local_path_once(first: str) -> None:
    call = speaking()
    order: list[Callable[[], list[Effect]]] = [
        lambda: call.hear("output_audio_buffer.cleared", response_id="r1"),
        lambda: call.finish("r1", "cancelled", "turn_detected"),
    ]
    now, later = order if first == "cleared" else order[::-1]
    effects = now()
    assert interruptions(effects) == [
        AudioInterrupted(item_id="i1", response_id="r1", audio_end_ms=1000, by="server")
    ]
    # behind `cleared` nothing of that voice is on its way any more; before, it ends with it
    assert deeds(effects) == [StopPlayout(None if first == "cleared" else 10.5)]
    again = later()
    assert interruptions(again) == []
    assert deeds(again) == ([] if first == "cleared" else [ResumePlayout()])
    assert call.sent() == []  # no cancel, no clear


def test_after_interrupt_the_services_own_end_tells_nothing() -> None:
    call = speaking()
    call.interrupt()
    assert interruptions(call.finish("r1", "cancelled", "turn_detected")) == []
    assert interruptions(call.hear("output_audio_buffer.cleared", response_id="r1")) == []


def test_each_response_can_be_interrupted_once() -> None:
    call = speaking()
    call.hear("output_audio_buffer.cleared", response_id="r1")
    call.finish("r1", "cancelled", "turn_detected")
    call.speak("r2", "i2")
    (report,) = interruptions(call.hear("output_audio_buffer.cleared", response_id="r2"))
    assert (report.item_id, report.by) == ("i2", "server")


def test_a_cleared_without_an_id_is_about_the_voice_that_is_heard() -> None:
    call = speaking()
    (report,) = interruptions(call.hear("output_audio_buffer.cleared"))
    assert report.response_id == "r1"


def test_a_late_cleared_of_an_older_voice_leaves_the_new_one_alone() -> None:
    call = speaking()
    call.finish("r1")
    call.hear("output_audio_buffer.stopped", response_id="r1")
    call.speak("r2", "i2")
    effects = call.hear("output_audio_buffer.cleared", response_id="r1")
    assert deeds(effects) == []
    assert interruptions(effects) == []


def test_a_voice_that_plays_while_the_next_response_is_cancelled_is_the_one_cut_off() -> None:
    call = speaking()
    call.finish("r1")
    call.respond("r2")
    (report,) = interruptions(call.finish("r2", "cancelled", "turn_detected"))
    assert (report.response_id, report.audio_end_ms) == ("r1", 1000)
    assert interruptions(call.hear("output_audio_buffer.cleared", response_id="r1")) == []


def test_a_cancelled_response_that_nobody_interrupted_is_left_to_its_clear() -> None:
    call = speaking()
    effects = call.finish("r1", "cancelled", "client_cancelled")
    assert interruptions(effects) == []
    assert deeds(effects) == []


def test_a_raw_clear_is_told_of_with_its_answer() -> None:
    call = speaking()
    call.core.send_event({"type": CLEAR}, call.now)
    (report,) = interruptions(call.hear("output_audio_buffer.cleared", response_id="r1"))
    assert report.by == "user"


def test_the_answer_to_a_clear_in_silence_tells_nothing() -> None:
    call = Scripted().connect()
    call.interrupt()
    effects = call.hear("output_audio_buffer.cleared", response_id="r0")
    assert interruptions(effects) == []
    assert deeds(effects) == []


def test_a_clear_that_was_never_answered_does_not_hide_a_later_barge_in() -> None:
    call = Scripted().connect()
    call.interrupt()
    call.now = 5.0
    call.speak("r1", "i1")
    (report,) = interruptions(call.hear("output_audio_buffer.cleared", response_id="r1"))
    assert report.by == "server"


def test_the_end_of_the_connection_plays_again() -> None:
    call = speaking()
    call.interrupt()
    call.sent()
    assert call.core.closed() == [ResumePlayout()]


def test_a_raw_cancel_is_sent_as_it_is_and_not_repeated_by_interrupt() -> None:
    call = speaking()
    call.core.send_event({"type": "response.cancel"}, 0.0)
    call.interrupt()
    assert call.sent_types() == ["response.cancel", CLEAR]


def test_a_service_that_never_answers_a_clear_is_taken_at_the_playouts_word() -> None:
    call = speaking()
    call.interrupt()
    call.playback, call.now = Playback(1000, 1400, playing=False), 11.0
    call.core.tick(call.now)
    assert deeds(call.interrupt()) == [StopPlayout(None)]


def test_a_transcript_names_the_item_where_no_part_was_announced() -> None:
    call = Scripted().connect()
    call.respond("r1")
    call.hear(
        "response.output_audio_transcript.delta",
        response_id="r1",
        item_id="i1",
        output_index=0,
        content_index=0,
        delta="Hi",
    )
    assert deeds(call.hear("output_audio_buffer.started", response_id="r1")) == [MarkVoice("r1", "i1")]


def test_a_text_part_is_no_voice() -> None:
    call = Scripted().connect()
    part = {"type": "text", "text": ""}
    call.hear("response.content_part.added", response_id="r1", item_id="i1", content_index=0, part=part)
    assert deeds(call.hear("output_audio_buffer.started", response_id="r1")) == [MarkVoice("r1", None)]
