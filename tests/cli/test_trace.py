import numpy as np
import pytest

from rtc_transport.trace import CallTrace, Delays, Peaks, TimedEvent, latencies, muted_spans, turns

RATE_HZ = 24_000


def tone(seconds: float, level: float = 0.5) -> np.ndarray:
    time = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    return (level * np.sin(2 * np.pi * 440 * time)).astype(np.float32)


def received(seconds: float, type_: str, **fields: object) -> TimedEvent:
    return TimedEvent(seconds, "received", {"type": type_, **fields})


def test_peaks_keep_the_outline_at_its_time() -> None:
    peaks = Peaks(bin_seconds=0.01)
    for start in range(0, RATE_HZ, 480):
        peaks.add(tone(1)[start : start + 480], RATE_HZ, 2 + start / RATE_HZ)
    time, low, high = peaks.outline()
    assert peaks.seconds == pytest.approx(3.0, abs=0.011)
    assert not high[time < 2].any()
    assert high[(time > 2.01) & (time < 2.99)].min() == pytest.approx(0.5, abs=0.01)
    assert low[(time > 2.01) & (time < 2.99)].max() == pytest.approx(-0.5, abs=0.01)


def test_peaks_take_stereo_blocks_and_ignore_what_comes_before_the_call() -> None:
    peaks = Peaks()
    peaks.add(np.ones((240, 2), np.float32), RATE_HZ, -1.0)
    peaks.add(np.zeros((0, 1), np.float32), RATE_HZ, 1.0)
    assert peaks.seconds == 0
    peaks.add(np.full((240, 2), 0.25, np.float32), RATE_HZ, 0.0)
    assert peaks.outline()[2][0] == 0.25


def test_peaks_stay_bounded_and_lose_no_extreme() -> None:
    peaks = Peaks(bin_seconds=0.01, max_bins=100)
    for second in range(60):
        peaks.add(tone(0.1, level=0.1), RATE_HZ, float(second))
    peaks.add(np.array([-0.9], np.float32), RATE_HZ, 30.2)
    time, low, _ = peaks.outline()
    assert len(time) <= 100
    assert low.min() == np.float32(-0.9)
    assert time[low.argmin()] == pytest.approx(30.2, abs=peaks.bin_seconds)


def test_a_delay_trace_of_any_length_stays_bounded_and_spans_the_call() -> None:
    trace = CallTrace()
    for tick in range(100_000):
        trace.add_delays(Delays(tick / 10, 30.0))
    assert len(trace.delays) <= 20_000
    assert trace.delays[0].seconds < 5
    assert trace.delays[-1].seconds == pytest.approx(9999.9)


def test_only_events_that_are_drawn_are_kept() -> None:
    trace = CallTrace()
    trace.add_event(received(1.0, "response.output_audio_transcript.delta", delta="a"))
    trace.add_event(received(2.0, "output_audio_buffer.started"))
    assert [timed.type for timed in trace.events] == ["output_audio_buffer.started"]


def test_speech_is_as_long_as_the_service_says_and_ends_when_it_says_so() -> None:
    events = [
        received(0.5, "input_audio_buffer.speech_started", audio_start_ms=100),
        received(3.0, "input_audio_buffer.speech_stopped", audio_end_ms=2500),
    ]
    (turn,) = turns(events, end=9.0)
    assert turn.lane == "user"
    assert (turn.start, turn.end) == pytest.approx((0.6, 3.0))


def test_an_answer_that_was_cleared_is_cut_and_open_turns_end_with_the_call() -> None:
    events = [
        received(1.0, "output_audio_buffer.started"),
        received(2.0, "output_audio_buffer.cleared"),
        received(3.0, "output_audio_buffer.started"),
        received(4.0, "input_audio_buffer.speech_started", audio_start_ms=0),
    ]
    assert [(turn.lane, turn.start, turn.end, turn.cut) for turn in turns(events, end=5.0)] == [
        ("model", 1.0, 2.0, True),
        ("user", 4.0, 5.0, False),
        ("model", 3.0, 5.0, False),
    ]


def test_ends_without_a_beginning_are_ignored() -> None:
    events = [
        received(1.0, "output_audio_buffer.stopped"),
        received(2.0, "input_audio_buffer.speech_stopped"),
    ]
    assert turns(events, end=3.0) == []


def test_muted_spans_merge_repeated_mutes_and_end_with_the_call() -> None:
    changes = [(1.0, True), (1.5, True), (2.0, False), (2.5, False), (3.0, True)]
    events = [TimedEvent(at, "transport", {"type": "mute_change", "muted": muted}) for at, muted in changes]
    assert muted_spans(events, end=4.0) == [(1.0, 2.0), (3.0, 4.0)]


def test_latency_runs_from_the_last_sound_of_the_user_to_the_first_of_the_answer() -> None:
    trace = CallTrace()
    trace.sent.add(tone(2.0), RATE_HZ, 0.5)
    trace.heard.add(tone(1.0), RATE_HZ, 3.4)
    trace.add_event(received(0.6, "input_audio_buffer.speech_started", audio_start_ms=400))
    trace.add_event(received(3.0, "input_audio_buffer.speech_stopped", audio_end_ms=2900))
    trace.add_event(received(3.2, "output_audio_buffer.started"))
    trace.add_event(received(4.4, "output_audio_buffer.stopped"))
    ((spoken, answered),) = latencies(trace)
    assert spoken == pytest.approx(2.5, abs=0.011)
    assert answered == pytest.approx(3.4, abs=0.011)


def test_an_answer_nobody_asked_for_has_no_latency() -> None:
    trace = CallTrace()
    trace.heard.add(tone(1.0), RATE_HZ, 1.0)
    trace.add_event(received(1.0, "output_audio_buffer.started"))
    assert list(latencies(trace)) == []
