"""The uplink: exact length and no exception whatever the source does, no clicks, mute, hold, counters."""

import logging
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from rtc_audio import AudioSource, PushSource, SilenceSource, ToneSource, UnsupportedFormat, Uplink
from rtc_audio.levels import rms_dbfs

FRAME = 960


class Recorder:
    """An uplink with what it reported."""

    def __init__(self, **options: Any) -> None:
        self.errors: list[Exception] = []
        self.ended: list[AudioSource] = []
        self.uplink = Uplink(on_error=self.errors.append, on_ended=self.ended.append, **options)

    def read(self, frames: int = 1) -> NDArray[np.float32]:
        return np.concatenate([self.uplink.read(FRAME) for _ in range(frames)])


class Scripted:
    """A source whose reads are given by a function of the number of frames."""

    channels = 1
    ended = False

    def __init__(self, read: Callable[[int], Any], rate_hz: Any = 48000) -> None:
        self.rate_hz = rate_hz
        self.read = read

    async def start(self) -> None: ...

    async def aclose(self) -> None: ...


def steps(y: NDArray[np.float32]) -> float:
    """The largest second difference, with silence around."""
    return float(np.abs(np.diff(np.concatenate([[0, 0], y, [0, 0]]), 2)).max())


# A sine of −6 dBFS at 440 Hz has steps of 0.029 and second differences of 0.0017; cut off, it would have 0.5.
TONE_DB = -6.0
NO_CLICK = 0.03


def tone(rate_hz: int = 48000, seconds: float | None = None, hz: float = 440) -> ToneSource:
    return ToneSource(hz, TONE_DB, rate_hz, seconds)


@pytest.mark.parametrize("rate_hz", [8000, 22050, 24000, 44100, 48000, 96000])
def test_any_rate_comes_out_at_the_uplinks(rate_hz: int) -> None:
    r = Recorder()
    r.uplink.set_source(tone(rate_hz))
    y = r.read(50)[FRAME:]
    spectrum = np.abs(np.fft.rfft(y * np.hanning(len(y))))
    assert np.argmax(spectrum) * 48000 / len(y) == pytest.approx(440, abs=1.1)
    assert rms_dbfs(y) == pytest.approx(TONE_DB - 3.01, abs=0.05)


def test_channels_are_mixed_to_the_uplinks() -> None:
    r = Recorder(channels=2)
    r.uplink.set_source(tone())
    y = r.read()
    assert y.shape == (FRAME, 2)
    np.testing.assert_array_equal(y[:, 0], y[:, 1])
    mono = Recorder()
    source = Scripted(lambda n: np.tile(np.array([[0.5, -0.1]], np.float32), (n, 1)))
    source.channels = 2
    mono.uplink.set_source(source)
    np.testing.assert_allclose(mono.read(2)[FRAME:], 0.2, rtol=1e-6)


def test_no_click_at_start_mute_unmute_exchange_and_end() -> None:
    r = Recorder()
    r.uplink.set_source(tone(seconds=0.1 + 0.0003))
    parts = [r.read(6)]
    r.uplink.set_source(tone(24000))
    parts.append(r.read(2))
    r.uplink.muted = True
    parts.append(r.read(2))
    r.uplink.muted = False
    parts.append(r.read(2))
    r.uplink.set_source(tone(44100, hz=300))
    parts.append(r.read(2))
    r.uplink.gain = 0.3
    parts.append(r.read(2))
    r.uplink.set_source(None)
    parts.append(r.read(2))
    assert steps(np.concatenate(parts)) < NO_CLICK
    assert not parts[-1][FRAME:].any()
    assert not r.errors


@settings(max_examples=50, deadline=None)
@given(
    actions=st.lists(
        st.sampled_from(["mute", "hold", "tone", "tone24", "none", "gain", "silence", "push"]), max_size=25
    ),
    n=st.sampled_from([480, 960, 1920]),
)
def test_no_order_of_commands_clicks(actions: list[str], n: int) -> None:
    r, push, voice, out = Recorder(), PushSource(48000), tone(), []
    for action in actions:
        if action == "mute":
            r.uplink.muted = not r.uplink.muted
        elif action == "hold":
            r.uplink.held = not r.uplink.held
        elif action == "gain":
            r.uplink.gain = 0.5 if r.uplink.gain == 1.0 else 1.0
        elif action == "push":
            push.push(voice.read(700))
            r.uplink.set_source(push)
        else:
            sources: dict[str, AudioSource] = {
                "tone": tone(),
                "tone24": tone(24000),
                "silence": SilenceSource(),
            }
            r.uplink.set_source(sources.get(action))
        out.append(r.uplink.read(n))
        assert len(out[-1]) == n
    r.uplink.set_source(None)
    out.append(r.uplink.read(1920))
    assert steps(np.concatenate(out)) < 2 * NO_CLICK
    assert not r.errors


def test_mute_is_silence_within_one_frame_and_the_source_runs_on() -> None:
    r, source = Recorder(), tone(seconds=1.0)
    r.uplink.set_source(source)
    r.read(5)
    r.uplink.muted = True
    r.read()
    assert not r.read(20).any()
    r.uplink.muted = False
    assert r.read(1)[480:].any()
    r.read(23)
    assert r.ended == [source], "a muted second is a second of the file"


@pytest.mark.parametrize("live", [False, True])
def test_unmuting_never_sends_stale_speech(live: bool) -> None:
    r, source = Recorder(), PushSource(48000, live=live)
    r.uplink.set_source(source)
    source.push(np.full(48000, 0.5, np.float32))
    r.read(2)
    r.uplink.muted = True
    assert source.buffered_seconds == 0
    source.push(np.full(24000, 0.5, np.float32))
    r.read(2)
    source.push(np.full(24000, 0.5, np.float32))
    r.uplink.muted = False
    assert not r.read(10).any()
    source.push(np.full(4800, 0.25, np.float32))
    assert r.read(2).max() == pytest.approx(0.25)


def test_while_held_a_file_waits_and_a_live_source_loses_its_backlog() -> None:
    for live, expected in ((False, 0.5), (True, 0.0)):
        r, source = Recorder(), PushSource(48000, live=live)
        r.uplink.held = True
        r.uplink.set_source(source)
        source.push(np.full(4800, 0.5, np.float32))
        assert not r.read(3).any()
        assert source.buffered_seconds == pytest.approx(0.1)
        r.uplink.held = False
        assert r.read().max() == pytest.approx(expected)


def test_a_released_file_begins_with_its_first_frame() -> None:
    r = Recorder()
    r.uplink.held = True
    ramp = np.linspace(0.1, 0.9, 4800, dtype=np.float32)
    source = PushSource(48000)
    source.push(ramp)
    r.uplink.set_source(source)
    r.read(4)
    r.uplink.held = False
    y = r.read(2)
    np.testing.assert_allclose(y[240:], ramp[240:1920], atol=1e-6)


def test_skipping_after_a_stall_drops_only_what_a_live_source_captured() -> None:
    for live, left in ((True, 0.02), (False, 0.5)):
        r, source = Recorder(), PushSource(24000, live=live)
        r.uplink.set_source(source)
        source.push(np.full(480, 0.5, np.float32))
        first = r.read()
        source.push(np.full(12000, 0.5, np.float32))
        r.uplink.skip(24 * FRAME)
        assert source.buffered_seconds == pytest.approx(left, abs=0.002)
        assert steps(np.concatenate([first, r.read(30)])) < NO_CLICK


def test_a_source_may_change_its_rate_and_channels() -> None:
    source = Scripted(lambda n: np.full((n, source.channels), 0.5, np.float32), 16000)
    r = Recorder()
    r.uplink.set_source(source)
    parts = [r.read(3)]
    source.rate_hz, source.channels = 44100, 2
    parts.append(r.read(3))
    source.rate_hz, source.channels = 48000, 1
    parts.append(r.read(3))
    y = np.concatenate(parts)
    assert not r.errors
    assert steps(y[:-2]) < NO_CLICK or steps(y) < 0.51
    np.testing.assert_allclose(y[[2500, 5600, 8500]], 0.5, atol=1e-3)


def raising(n: int) -> Any:
    raise RuntimeError("the driver is gone")


@pytest.mark.parametrize(
    ("read", "text"),
    [
        (raising, "the driver is gone"),
        (lambda n: None, "Scripted.read returned NoneType: need float32 [frame, channel]"),
        (lambda n: [0.0] * n, "Scripted.read returned list: need float32 [frame, channel]"),
        (
            lambda n: np.zeros((n, 1)),
            "Scripted.read returned float64 [960, 1]: need float32 [frame, channel]",
        ),
        (
            lambda n: np.zeros(n, np.float32),
            "Scripted.read returned float32 [960]: need float32 [frame, channel]",
        ),
        (
            lambda n: np.zeros((1, n), np.float32),
            "Scripted.read returned float32 [1, 960]: need 1 channels, as it states",
        ),
        (
            lambda n: np.zeros((n + 1, 1), np.float32),
            "Scripted.read(960) returned 961 frames: at most 960 fit",
        ),
    ],
)
def test_a_faulty_read_is_silence_and_one_report_per_burst(read: Callable[[int], Any], text: str) -> None:
    r, good = Recorder(), tone()
    source = Scripted(good.read)
    r.uplink.set_source(source)
    parts = [r.read(2)]
    source.read = read
    parts.append(r.read(10))
    assert [str(error) for error in r.errors] == [text]
    assert not parts[-1][FRAME:].any()
    source.read = good.read
    parts.append(r.read(2))
    source.read = read
    parts.append(r.read(2))
    assert len(r.errors) == 2
    assert r.uplink.source_errors == 12
    assert steps(np.concatenate(parts)) < NO_CLICK


def test_nan_is_replaced_counted_and_reported_once_per_burst() -> None:
    bad = np.full((FRAME, 1), 0.1, np.float32)
    bad[5], bad[6] = np.nan, np.inf
    r = Recorder()
    r.uplink.set_source(Scripted(lambda n: bad[:n]))
    y = r.read(4)
    assert np.isfinite(y).all()
    assert r.uplink.nonfinite_samples == 8
    assert [str(error) for error in r.errors] == ["Scripted.read returned 2 samples that are NaN or infinite"]
    assert np.isnan(bad[5, 0]), "the source's own array is not touched"


@pytest.mark.parametrize("rate_hz", [0, -1, None, 44100.5, 10**12 + 1])
def test_an_impossible_rate_is_silence_and_one_report(rate_hz: Any) -> None:
    r = Recorder()
    r.uplink.set_source(Scripted(lambda n: np.ones((n, 1), np.float32), rate_hz))
    assert not r.read(5).any()
    assert len(r.errors) == 1
    assert isinstance(r.errors[0], UnsupportedFormat)


def test_properties_that_raise_are_faults_too() -> None:
    class Broken(ToneSource):
        @property
        def ended(self) -> bool:
            raise OSError("no device")

        def clear(self) -> None:
            raise OSError("no device")

    r = Recorder()
    r.uplink.set_source(Broken())
    r.uplink.muted = True
    r.read(3)
    r.uplink.muted = False
    r.read(3)
    assert [str(error) for error in r.errors] == ["no device"]


def test_the_end_is_told_once_and_silence_follows() -> None:
    r, source = Recorder(), tone(24000, seconds=0.05)
    r.uplink.set_source(source)
    assert not r.read(50)[5 * FRAME :].any()
    assert r.ended == [source]


def test_callbacks_that_raise_do_not_reach_the_track(caplog: pytest.LogCaptureFixture) -> None:
    def bad(_: object) -> None:
        raise RuntimeError("handler")

    uplink = Uplink(on_error=bad, on_ended=bad)
    uplink.set_source(Scripted(raising))
    assert len(uplink.read(FRAME)) == FRAME
    uplink.set_source(tone(seconds=0.01))
    assert len(uplink.read(FRAME)) == FRAME
    assert {record.levelno for record in caplog.records} == {logging.ERROR}


def test_taps_hear_what_is_sent_and_a_faulty_one_is_reported_once() -> None:
    r = Recorder()
    heard: list[NDArray[np.float32]] = []

    def broken(pcm: NDArray[np.float32]) -> None:
        raise RuntimeError("tap")

    r.uplink.add_tap(broken)
    r.uplink.add_tap(heard.append)
    r.uplink.set_source(tone())
    y = r.read(3)
    r.uplink.remove_tap(heard.append)
    r.uplink.read(FRAME)
    np.testing.assert_array_equal(np.concatenate(heard)[:, 0], y)
    assert [str(error) for error in r.errors] == ["tap"]


def test_counters_and_meter() -> None:
    r = Recorder()
    r.read(2)
    r.uplink.set_source(tone())
    r.read(50)
    assert r.uplink.read_frames == 52 * FRAME
    assert r.uplink.silence_frames == 2 * FRAME
    assert r.uplink.meter.peak_dbfs == pytest.approx(TONE_DB, abs=0.1)


@pytest.mark.parametrize("gain", [-0.1, float("nan"), float("inf")])
def test_gain_is_a_finite_factor(gain: float) -> None:
    with pytest.raises(ValueError, match=f"^gain={gain}: need a finite factor of at least 0$"):
        Recorder().uplink.gain = gain


def test_the_same_source_again_changes_nothing() -> None:
    r, source = Recorder(), tone()
    r.uplink.set_source(source)
    first = r.read()
    r.uplink.set_source(source)
    assert steps(np.concatenate([first, r.read()])[: 2 * FRAME - 1]) < 0.51
    assert r.uplink.source is source


def test_nothing_grows_when_sources_come_and_go() -> None:
    r = Recorder()
    for count in range(200):
        r.uplink.set_source(tone(24000))
        if count % 3:
            r.read()
    for _ in range(1000):
        r.uplink.set_source(tone())
    r.read()
    assert len(r.uplink._leaving) <= 1


def test_the_end_of_a_muted_source_is_told_too() -> None:
    r, source = Recorder(), PushSource(24000)
    r.uplink.set_source(source)
    source.push(np.full(24000, 0.5, np.float32))
    r.uplink.muted = True
    r.read(2)
    source.push(np.full(24000, 0.5, np.float32))
    source.end()
    r.read(2)
    assert r.ended == [source]


def test_who_is_told_may_exchange_the_source() -> None:
    """One source after the other, from the callback, without a click at the joint."""
    queue = [tone(24000, seconds=0.05), tone(seconds=0.0503), tone(16000, seconds=0.05)]
    uplink = Uplink(
        on_error=lambda exc: uplink.set_source(queue.pop(0)),
        on_ended=lambda source: uplink.set_source(queue.pop(0) if queue else None),
    )
    uplink.set_source(Scripted(raising))
    y = np.concatenate([uplink.read(FRAME) for _ in range(20)])
    assert uplink.source is None
    assert steps(y) < NO_CLICK
    assert np.count_nonzero(np.abs(y) > 1e-4) / 48000 == pytest.approx(0.15, abs=0.03)


def test_a_source_whose_options_raise_is_only_faulty() -> None:
    class Broken(ToneSource):
        @property
        def live(self) -> bool:
            raise OSError("gone")

    r = Recorder()
    r.uplink.held = True
    r.uplink.set_source(Broken())
    r.uplink.held = False
    r.read()
    assert [str(error) for error in r.errors] == ["gone"]
