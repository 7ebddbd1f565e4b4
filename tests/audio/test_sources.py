"""Tone, silence, pushed sound."""

import threading
from typing import Any

import numpy as np
import pytest

from rtc_audio import AudioSource, ClearableSource, PushSource, SilenceSource, ToneSource, UnsupportedFormat
from rtc_audio.levels import peak_dbfs


def wrong(value: Any) -> Any:
    """A value that the type checker would refuse."""
    return value


async def test_tone_is_continuous_over_reads_and_ends() -> None:
    source = ToneSource(440, -20, 48000, seconds=0.1)
    await source.start()
    parts = [source.read(n) for n in (1, 959, 960, 2000, 960)]
    y = np.concatenate(parts)[:, 0]
    assert [len(part) for part in parts] == [1, 959, 960, 2000, 880]
    assert source.ended
    assert len(source.read(10)) == 0
    t = np.arange(4800) / 48000
    np.testing.assert_allclose(y, 0.1 * np.sin(2 * np.pi * 440 * t), atol=1e-6)
    assert peak_dbfs(y) == pytest.approx(-20, abs=0.01)
    await source.aclose()


def test_tone_keeps_its_pitch_for_hours() -> None:
    source = ToneSource(441, 0, 44100)
    source._position = 44100 * 36000
    np.testing.assert_allclose(source.read(100), ToneSource(441, 0, 44100).read(100), atol=1e-5)


def test_silence_never_ends() -> None:
    source = SilenceSource()
    assert not source.read(960).any()
    assert not source.ended


def test_pushed_sound_comes_out_in_order_in_any_sizes() -> None:
    source = PushSource(24000, capacity_seconds=1.0)
    ramp = np.arange(1000, dtype=np.int16)
    assert source.push(ramp[:7]) == 7
    assert source.push(ramp[7:400].astype(np.float32) / np.float32(32768)) == 393
    assert source.push(ramp[400:, None]) == 600
    assert source.buffered_seconds == pytest.approx(1000 / 24000)
    parts = [source.read(n) for n in (3, 500, 10, 1000)]
    assert [len(part) for part in parts] == [3, 500, 10, 487]
    np.testing.assert_allclose(np.concatenate(parts)[:, 0] * 32768, ramp)


def test_push_is_bounded_and_says_what_it_took() -> None:
    source = PushSource(1000, capacity_seconds=0.1)
    assert source.push(np.zeros(80, np.float32)) == 80
    assert source.push(np.zeros(80, np.float32)) == 20
    assert source.push(np.zeros(5, np.float32)) == 0
    assert source.dropped_frames == 65
    source.read(50)
    assert source.push(np.zeros(60, np.float32)) == 50


def test_pushed_arrays_may_be_used_again() -> None:
    source, block = PushSource(8000), np.ones(4, np.float32)
    source.push(block)
    block[:] = 9
    assert source.read(4).max() == 1


async def test_end_comes_after_what_was_pushed() -> None:
    source = PushSource(8000)
    source.push(np.zeros(10, np.float32))
    source.end()
    assert not source.ended
    source.read(10)
    assert source.ended
    with pytest.raises(ValueError, match=r"^push after end\(\): make a new PushSource$"):
        source.push(np.zeros(1, np.float32))


async def test_clear_and_close_drop_what_waits() -> None:
    source = PushSource(8000, 2)
    source.push(np.zeros((10, 2), np.float32))
    source.clear()
    assert source.read(10).shape == (0, 2)
    assert not source.ended
    source.push(np.zeros((10, 2), np.float32))
    await source.aclose()
    await source.aclose()
    assert source.buffered_seconds == 0
    await source.start()
    assert source.push(np.zeros((10, 2), np.float32)) == 10


def test_one_other_thread_may_push() -> None:
    source, total = PushSource(48000, capacity_seconds=100), 200_000
    pushing = threading.Thread(
        target=lambda: [source.push(np.arange(at, at + 100, dtype=np.float32)) for at in range(0, total, 100)]
    )
    pushing.start()
    parts, got = [], 0
    while got < total:
        parts.append(source.read(333))
        got += len(parts[-1])
    pushing.join()
    np.testing.assert_array_equal(np.concatenate(parts)[:, 0], np.arange(total, dtype=np.float32))


def test_they_are_sources() -> None:
    assert isinstance(ToneSource(), AudioSource)
    assert isinstance(SilenceSource(), AudioSource)
    assert isinstance(PushSource(8000), ClearableSource)
    assert not isinstance(ToneSource(), ClearableSource)


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: ToneSource(30000), "a tone of 30000 Hz at 48000 Hz: need 0 < hz < 24000"),
        (lambda: ToneSource(440, 6), "level_dbfs=6: need at most 0"),
        (lambda: ToneSource(rate_hz=0), "rate_hz=0: need an integer from 1 to 768000"),
        (lambda: ToneSource(seconds=-1), "seconds=-1: need at least 0"),
        (lambda: PushSource(8000, 0), "channels=0: need a positive integer"),
        (
            lambda: PushSource(8000, capacity_seconds=0),
            "capacity_seconds=0: need room for at least one frame",
        ),
        (lambda: PushSource(8000).push(wrong(np.zeros(4))), "float64 samples: need float32 or int16"),
        (
            lambda: PushSource(8000, 1).push(np.zeros((4, 2), np.float32)),
            "pushed 2 channels into a source of 1",
        ),
    ],
)
def test_what_they_refuse(make: Any, text: str) -> None:
    with pytest.raises(ValueError) as caught:
        make()
    assert str(caught.value) == text
    assert isinstance(caught.value, UnsupportedFormat) or "seconds" in text
