"""Both directions of a call on one time axis."""

import wave
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from rtc_audio import AudioFileError, StereoRecorder
from rtc_audio.recorder import StereoTimeline

RATE = 24000


def tone(seconds: float, hz: float = 500.0, rate_hz: int = RATE) -> NDArray[np.float32]:
    t = np.arange(round(seconds * rate_hz)) / rate_hz
    return (0.5 * np.sin(2 * np.pi * hz * t)).astype(np.float32)[:, None]


Blocks = list[tuple[float, NDArray[np.float32], int]]
"""(time, block, rate)"""


def feed(timeline: StereoTimeline, user: Blocks, model: Blocks) -> NDArray[np.float32]:
    """Hand over the blocks of both sides in the order of time; returns the whole recording."""
    calls = [(at, 0, pcm, rate) for at, pcm, rate in user] + [(at, 1, pcm, rate) for at, pcm, rate in model]
    out = [
        (timeline.insert_model if side else timeline.insert_user)(pcm, rate, at)
        for at, side, pcm, rate in sorted(calls, key=lambda call: call[:2])
    ]
    return np.concatenate([*out, timeline.finish()])


def blocks(pcm: NDArray[np.float32], start: float, rate_hz: int = RATE) -> Blocks:
    step = rate_hz // 50
    return [(start + at / rate_hz, pcm[at : at + step], rate_hz) for at in range(0, len(pcm), step)]


def onset_seconds(channel: NDArray[np.float32]) -> float:
    return float(np.argmax(np.abs(channel) > 0.05)) / RATE


def test_both_sides_stand_at_their_times() -> None:
    recording = feed(
        StereoTimeline(RATE),
        blocks(np.zeros((2 * RATE, 1), np.float32), 100.0),
        blocks(tone(0.5), 100.75),
    )
    assert len(recording) == 2 * RATE
    assert abs(onset_seconds(recording[:, 1]) - 0.75) < 0.020
    assert not recording[:, 0].any()


def test_rates_of_the_sides_may_differ() -> None:
    recording = feed(
        StereoTimeline(RATE),
        blocks(tone(1.0, rate_hz=48000), 0.0, 48000),
        blocks(tone(1.0, rate_hz=16000), 0.0, 16000),
    )
    assert len(recording) == RATE
    middle = slice(RATE // 4, 3 * RATE // 4)
    np.testing.assert_allclose(recording[middle, 0], recording[middle, 1], atol=0.02)


def test_late_timers_leave_the_sound_whole() -> None:
    """One block in five is up to 80 ms late, and those behind it come at once."""
    rng = np.random.default_rng(5)
    speech = tone(2.0)
    sent = blocks(speech, 0.0)
    late = [at + float(rng.uniform(0, 0.08) * (rng.random() < 0.2)) for at, _, _ in sent]
    times = np.maximum.accumulate([0.0, *late[1:]])
    recording = feed(
        StereoTimeline(RATE),
        [(float(at), pcm, rate) for at, (_, pcm, rate) in zip(times, sent, strict=True)],
        [],
    )
    error = np.abs(recording[480:RATE, 0] - speech[480:RATE, 0])
    assert error.max() < 1e-3


def test_a_gap_is_silence_without_a_click() -> None:
    speech = tone(0.5)
    recording = feed(
        StereoTimeline(RATE),
        blocks(speech, 0.0) + blocks(speech, 0.9),
        blocks(np.zeros((RATE + RATE // 2, 1), np.float32), 0.0),
    )
    gap = recording[round(0.53 * RATE) : round(0.87 * RATE), 0]
    assert not gap.any()
    assert abs(onset_seconds(recording[round(0.7 * RATE) :, 0]) - 0.2) < 0.020
    assert np.abs(np.diff(recording[:, 0], 2)).max() < 0.5 * 2 * np.pi * 500 / RATE


def test_a_clock_that_runs_faster_stays_within_20_ms() -> None:
    """At +500 ppm a minute shifts by 30 ms; impulses each second show where the sound stands."""
    clicks = np.zeros((60 * RATE, 1), np.float32)
    clicks[:: RATE // 2] = 0.9
    user = [(at * (1 + 500e-6), pcm, rate) for at, pcm, rate in blocks(clicks, 0.0)]
    recording = feed(StereoTimeline(RATE), user, [])
    last = np.flatnonzero(np.abs(recording[:, 0]) > 0.3)[-1] / RATE
    assert abs(last - 59.5 * (1 + 500e-6)) <= 0.021


def test_a_side_that_says_nothing_is_silent_and_holds_nothing_back() -> None:
    timeline = StereoTimeline(RATE)
    written = sum(len(timeline.insert_user(pcm, rate, at)) for at, pcm, rate in blocks(tone(10.0), 0.0))
    assert written >= 6.9 * RATE, "but for two seconds of lead and one of looking ahead"
    assert len(timeline.insert_model(tone(0.02), RATE, 1.0)) == 0, "its time is written already"
    timeline.insert_model(np.zeros((480, 1), np.float32), RATE, 1.02)
    timeline.finish()
    assert timeline.late_seconds == pytest.approx(0.02), "silence is not missed"


def test_what_a_stall_kept_back_is_put_in_its_place() -> None:
    """0.6 s of sound come at once, as they do behind a stall of a network without a playout buffer."""
    speech = tone(2.0)
    model = [(max(at, 1.0) if at > 0.4 else at, pcm, rate) for at, pcm, rate in blocks(speech, 0.0)]
    timeline = StereoTimeline(RATE)
    recording = feed(timeline, blocks(np.zeros_like(speech), 0.0), model)
    np.testing.assert_allclose(recording[480:-480, 1], speech[480:-480, 0], atol=1e-3)
    assert timeline.late_seconds == 0


def test_a_wild_clock_does_not_fill_the_disk_with_silence() -> None:
    timeline = StereoTimeline(RATE)
    recording = feed(timeline, blocks(tone(0.2), 0.0) + blocks(tone(0.2), 1e6), [])
    assert len(recording) < RATE
    assert timeline.cut_seconds == pytest.approx(1e6, abs=1)


async def test_the_file_holds_both_channels(tmp_path: Path) -> None:
    recorder = StereoRecorder(tmp_path / "call.wav")
    await recorder.start()
    for at, pcm, rate in blocks(tone(1.0), 7.0):
        recorder.write_user(pcm, rate, at)
        recorder.write_model(pcm * np.float32(0.5), rate, at)
    await recorder.aclose()
    await recorder.aclose()
    with wave.open(str(tmp_path / "call.wav")) as file:
        assert (file.getnchannels(), file.getframerate(), file.getnframes()) == (2, RATE, RATE)
        samples = np.frombuffer(file.readframes(RATE), np.int16).reshape(-1, 2)
    assert np.abs(samples[:, 0]).max() == pytest.approx(2 * np.abs(samples[:, 1]).max(), rel=0.01)
    assert recorder.seconds_written == pytest.approx(1.0)


def test_an_unwritable_path_is_known_at_once(tmp_path: Path) -> None:
    with pytest.raises(AudioFileError, match=r"^cannot write .*call\.wav: its folder does not exist$"):
        StereoRecorder(tmp_path / "missing" / "call.wav")


def test_a_rate_may_change_on_the_way() -> None:
    """As that of the model's side does when the sink is exchanged: one unbroken tone at its place."""
    whole = tone(2.0)
    model = blocks(tone(1.0, rate_hz=48000), 5.0, 48000) + blocks(tone(1.0, rate_hz=16000), 6.0, 16000)
    recording = feed(StereoTimeline(RATE), blocks(np.zeros_like(whole), 5.0), model)
    assert len(recording) == 2 * RATE
    inside = np.r_[480 : RATE - 480, RATE + 480 : 2 * RATE - 480]
    np.testing.assert_allclose(recording[inside, 1], whole[inside, 0], atol=0.02)
    assert np.abs(np.diff(recording[:, 1], 2)).max() < 0.5 * 2 * np.pi * 500 / RATE


async def test_a_second_call_is_written_behind_the_first(tmp_path: Path) -> None:
    recorder = StereoRecorder(tmp_path / "call.wav")
    for call, start in enumerate((7.0, 3000.0), start=1):
        await recorder.start()
        await recorder.start()
        for at, pcm, rate in blocks(tone(0.5), start):
            recorder.write_user(pcm, rate, at)
        await recorder.aclose()
        assert recorder.seconds_written == pytest.approx(0.5 * call)
    recorder.write_user(tone(0.5), RATE, 3001.0)
    assert recorder.seconds_written == pytest.approx(1.0), "nothing is written between calls"
