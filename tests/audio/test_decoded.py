"""Playout of decoded sound: small delay, no clicks, nothing held back, nothing grows."""

import random

import numpy as np
import pytest
from numpy.typing import NDArray

from rtc_audio.decoded import DecodedBuffer
from support.voice_link import roughness, voice

RATE_HZ = 48000
PIECE, BLOCK = 960, 480


def run(
    buffer: DecodedBuffer, delays: list[float | None], *, tail_seconds: float = 0.5
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Pushes 20 ms pieces after their delays, pulls 10 ms; what was heard, and what waited at each pull."""
    sound = voice(len(delays) * 0.02)
    arrivals = sorted((round(i * 0.02 + delay, 6), i) for i, delay in enumerate(delays) if delay is not None)
    heard, waiting, at = [], [], 0
    for pull in range(round(len(delays) * 2 + tail_seconds * 100)):
        now = 0.003 + pull * 0.01
        while at < len(arrivals) and arrivals[at][0] <= now:
            start = arrivals[at][1] * PIECE
            buffer.push(sound[start : start + PIECE], arrivals[at][0])
            at += 1
        heard.append(buffer.pull(BLOCK, now))
        waiting.append(buffer.delay_seconds)
    return np.concatenate(heard), np.array(waiting)


def test_even_sound_passes_unchanged() -> None:
    heard, waiting = run(buffer := DecodedBuffer(RATE_HZ), [0.0] * 300)
    sound = voice(6)
    late = int(np.argmax(np.correlate(heard[:96000], sound[24000:48000], "valid"))) - 24000
    assert 0 <= late <= 0.045 * RATE_HZ
    assert np.array_equal(heard[late + 4800 : late + len(sound)], sound[4800:])
    assert waiting[100:500].max() <= 0.040
    assert buffer.stats.underruns == 1  # the end
    assert buffer.stats.edits == 0


def test_jitter_raises_the_target_and_calm_lowers_it() -> None:
    rng = random.Random(4)
    shaky: list[float | None] = [rng.random() * 0.06 if i % 3 else 0.06 for i in range(300)]
    buffer = DecodedBuffer(RATE_HZ)
    run(buffer, [*shaky, *[0.0] * 10])
    raised, underruns = buffer.target_seconds, buffer.stats.underruns
    assert 0.02 < raised <= 0.1
    assert underruns < 12
    calm = np.zeros(PIECE, np.float32)
    for piece in range(6000):
        buffer.push(calm, 100 + piece * 0.02)
        buffer.pull(BLOCK, 100.001 + piece * 0.02)
        buffer.pull(BLOCK, 100.011 + piece * 0.02)
    assert buffer.target_seconds == pytest.approx(0.020)
    assert buffer.delay_seconds < 0.07


def test_a_pause_is_no_underrun_to_adapt_to() -> None:
    buffer = DecodedBuffer(RATE_HZ)
    run(buffer, [None if 100 <= i < 150 else 0.0 for i in range(200)])
    assert buffer.target_seconds == pytest.approx(0.020)


def test_the_last_sample_comes_out_by_itself() -> None:
    buffer, sound = DecodedBuffer(RATE_HZ), voice(2)[-700:]
    buffer.push(sound, 0.0)
    heard = np.concatenate([buffer.pull(BLOCK, 0.01 * pull) for pull in range(7)])
    assert np.abs(heard).max() > 0.5 * np.abs(sound).max()
    assert len(heard) == 7 * BLOCK
    assert buffer.delay_seconds == 0


def test_no_click_when_it_runs_dry_and_comes_back() -> None:
    delays: list[float | None] = [0.08 if i % 40 == 39 else 0.0 for i in range(400)]
    for i in range(1, len(delays)):
        delays[i] = max(delays[i] or 0, (delays[i - 1] or 0) - 0.02)
    heard, _ = run(buffer := DecodedBuffer(RATE_HZ), delays)
    assert buffer.stats.underruns > 2
    assert roughness(heard) < 1.5 * roughness(voice(8))


def test_no_click_where_something_is_missing() -> None:
    buffer, sound, heard = DecodedBuffer(RATE_HZ), voice(8), []
    for piece in range(400):
        if piece % 20 != 19:
            sent = sound[piece * PIECE : (piece + 1) * PIECE]
            buffer.push(sent, piece * 0.02, follows=piece % 20 != 0)
        heard += [buffer.pull(BLOCK, piece * 0.02), buffer.pull(BLOCK, piece * 0.02 + 0.01)]
    assert roughness(np.concatenate(heard)) < 2 * roughness(sound)


def test_a_burst_is_worked_off() -> None:
    delays: list[float | None] = [0.3 - (i - 100) * 0.02 if 100 <= i < 115 else 0.0 for i in range(700)]
    heard, waiting = run(DecodedBuffer(RATE_HZ), delays)
    assert waiting[1300] <= 0.080
    assert roughness(heard) < 1.5 * roughness(voice(14))


def test_it_is_bounded_when_nobody_pulls() -> None:
    buffer = DecodedBuffer(RATE_HZ, max_delay_seconds=0.5)
    for piece in range(1000):
        buffer.push(np.ones(PIECE, np.float32), piece * 0.02)
    assert buffer.delay_seconds == 0.5
    assert buffer.stats.discarded > 900


def test_flush_fades_within_12_ms() -> None:
    buffer = DecodedBuffer(RATE_HZ)
    tone = np.sin(np.arange(RATE_HZ) * 0.05).astype(np.float32)
    for piece in range(40):
        buffer.push(tone[piece * PIECE : (piece + 1) * PIECE], piece * 0.02)
        before = buffer.pull(BLOCK, piece * 0.02)
        before = buffer.pull(BLOCK, piece * 0.02 + 0.01)
    buffer.flush(0.8)
    after = np.concatenate([buffer.pull(BLOCK, 0.8 + 0.01 * pull) for pull in range(20)])
    assert np.abs(after[round(0.012 * RATE_HZ) :]).max() < 1e-6
    assert roughness(np.concatenate((before, after))) < 0.02


def test_played_time_belongs_to_what_was_played() -> None:
    buffer = DecodedBuffer(RATE_HZ)
    frame = np.full(RATE_HZ // 50, 0.1, np.float32)
    for number in range(10):
        buffer.push(frame, number * 0.02)
        buffer.pull(len(frame), number * 0.02)
    mark = buffer.pushed_seconds
    assert mark == pytest.approx(0.2)
    assert buffer.played_ms(mark) == 0
    for number in range(10, 20):
        buffer.push(frame, number * 0.02)
        buffer.pull(len(frame), number * 0.02)
    heard = buffer.played_ms(mark)
    assert heard == pytest.approx(200 - 1000 * buffer.delay_seconds)
    buffer.flush(0.4)
    buffer.pull(RATE_HZ, 0.42)
    assert buffer.played_ms(mark) <= heard + 8, "what was flushed was not played, but for its fade"


def test_wrong_use_is_told() -> None:
    with pytest.raises(ValueError, match="rate_hz must be 8000 or more, not 0"):
        DecodedBuffer(0)
    with pytest.raises(ValueError, match=r"max_delay_seconds must be above 0.2 and up to 10, not 0.1"):
        DecodedBuffer(max_delay_seconds=0.1)
    with pytest.raises(ValueError, match=r"pcm must be float32 \[frame\], not float32 with 2 dimension"):
        DecodedBuffer().push(np.zeros((10, 1), np.float32), 0.0)
