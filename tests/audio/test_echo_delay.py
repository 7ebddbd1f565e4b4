"""Bulk delay, fractional delay and drift."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from rtc_audio.echo_delay import BulkDelay, Sighting
from rtc_audio.echo_drift import DriftCompensator, path_shift
from rtc_audio.echo_line import DelayLine
from support.echo_scenes import in_blocks, scene

Mono = NDArray[np.float32]


def tone(position: NDArray[np.floating[Any]]) -> Mono:
    return np.asarray(np.sin(2 * np.pi * 0.11 * position), np.float32)


def seen(far: Mono, near: Mono, error: Mono, rate_hz: int = 16000) -> list[Sighting]:
    finder, blocks = BulkDelay(rate_hz), in_blocks(rate_hz // 50, far, near, error)
    sightings = [finder.process(far, near, error, talking=True) for far, near, error in blocks]
    return [sighting for sighting in sightings if sighting is not None]


@pytest.mark.parametrize("delay_ms", [5, 90, 470])
def test_delay_is_found_within_two_seconds(delay_ms: float) -> None:
    heard = scene(seconds=2, talk=(1.99, 2), delay_ms=delay_ms)
    sightings = seen(heard.far, heard.microphone, 0.5 * heard.microphone)
    delays = [sighting.delay_seconds for sighting in sightings if sighting.delay_seconds is not None]
    assert delays[-1] == pytest.approx((delay_ms + 1) / 1000, abs=0.001)  # 1 ms in the room
    assert sightings[-1].left == pytest.approx(0.5, abs=0.01)


def test_what_somebody_says_meanwhile_is_no_echo_left() -> None:
    heard = scene(seconds=6, talk=(1, 6))
    sightings = seen(heard.far, heard.microphone, heard.near.astype(np.float32))
    assert len(sightings) > 5
    assert max(sighting.left for sighting in sightings) < 0.5


def test_no_delay_in_what_has_nothing_to_do_with_it() -> None:
    heard = scene(seconds=6, talk=(1, 6), echo_db=-120, near_db=100)
    assert not any(sighting.delay_seconds for sighting in seen(heard.far, heard.microphone, heard.microphone))


@pytest.mark.parametrize("fraction", [0.0, 0.25, 0.5, 0.93])
def test_line_is_read_between_samples(fraction: float) -> None:
    line = DelayLine(1000)
    for at in range(0, 3000, 100):
        line.write(tone(np.arange(at, at + 100.0)))
    np.testing.assert_allclose(
        line.read(2500 + fraction, 160), tone(2500 + fraction + np.arange(160)), atol=2e-3
    )


def test_line_is_read_at_another_rate() -> None:
    line = DelayLine(2000)
    line.write(tone(np.arange(2000.0)))
    ratio = 1 - 500e-6
    parts = [line.read(500 + k * 160 * ratio, 160, ratio) for k in range(8)]
    np.testing.assert_allclose(np.concatenate(parts), tone(500 + np.arange(8 * 160) * ratio), atol=2e-3)


def test_silence_around_what_the_line_holds() -> None:
    line = DelayLine(100)
    line.write(np.ones(250, np.float32))
    assert not line.read(-50, 20).any()
    assert not line.read(250, 20).any()
    np.testing.assert_array_equal(line.read(245, 10), [1] * 5 + [0] * 5)
    line.clear()
    assert not line.read(200, 50).any()


@pytest.mark.parametrize("samples", [0.0, 0.03, -1.7, 5.4])
def test_shift_of_a_path(samples: float) -> None:
    random = np.random.default_rng(1)
    path = np.fft.rfft(random.standard_normal((4, 160)), 320).astype(np.complex64)
    turned = path * np.exp(-2j * np.pi * np.arange(161) / 320 * samples).astype(np.complex64)
    assert path_shift(path, turned) == pytest.approx(samples, abs=0.005)


def test_no_shift_between_different_paths() -> None:
    random = np.random.default_rng(1)
    one, other = np.fft.rfft(random.standard_normal((2, 4, 160)), 320).astype(np.complex64)
    assert path_shift(one, other) is None
    assert path_shift(np.zeros_like(one), one) is None


def test_known_drift_is_taken_out() -> None:
    """The reader's clock is slower: the echo comes ever later, and so does what is given to the filter."""
    compensator = DriftCompensator(16000, 0.5)
    compensator.drift_ppm = 200
    compensator.move(0.01)
    far = tone(np.arange(16000.0))
    out = np.concatenate([compensator.process(block) for block in far.reshape(-1, 160)])
    position = np.arange(16000) * (1 - 200e-6) - 12 - 160
    np.testing.assert_allclose(out[400:], tone(position)[400:], atol=3e-3)
    assert compensator.delay_seconds == pytest.approx((12 + 160 + 3.2) / 16000, abs=1e-6)


def test_delay_stays_within_its_bounds() -> None:
    compensator = DriftCompensator(16000, 0.5)
    compensator.move(-1)
    assert compensator.delay_seconds < 0.001
    compensator.move(9)
    assert compensator.delay_seconds == pytest.approx(0.5)
