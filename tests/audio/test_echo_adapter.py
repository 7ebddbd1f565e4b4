"""Cancellers behind devices with rates and block sizes of their own."""

import numpy as np
import pytest

from rtc_audio.echo import NullEchoCanceller
from rtc_audio.echo_adapter import AdaptedEchoCanceller
from rtc_audio.echo_kalman import KalmanEchoCanceller
from rtc_audio.errors import UnsupportedFormat
from support.echo_scenes import cancel, scene


@pytest.mark.parametrize(
    ("rate_hz", "frames", "most_ms"),
    [
        (48000, 480, 3),
        (44100, 441, 3),
        (96000, 1920, 3),
        (8000, 80, 6),
        (48000, 256, 13),
        (22050, 220, 13),
        (48000, 1, 13),
        (16000, 333, 11),
    ],
)
def test_sound_comes_out_when_it_says(rate_hz: int, frames: int, most_ms: float) -> None:
    canceller = AdaptedEchoCanceller(NullEchoCanceller(16000), rate_hz, block_frames=frames)
    late = canceller.latency_seconds
    time = np.arange(rate_hz // frames // 4 * frames) / rate_hz

    def sweep(
        at: np.ndarray[tuple[int], np.dtype[np.float64]],
    ) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
        return (0.3 * np.sin(2 * np.pi * (300 * at + 1500 * at**2))).astype(np.float32)

    blocks = sweep(time).reshape(-1, frames)
    out = np.concatenate([canceller.process(block, block) for block in blocks])
    begun = time > late + 0.02
    np.testing.assert_allclose(out[begun], sweep(time - late)[begun], atol=2e-4)
    assert late * 1000 <= most_ms


@pytest.mark.parametrize("rate_hz", [44100, 48000])
def test_echo_goes_at_the_device_rate(rate_hz: int) -> None:
    canceller = AdaptedEchoCanceller(KalmanEchoCanceller(), rate_hz)
    outcome = cancel(canceller, scene(seconds=9, talk=(8, 9), rate_hz=rate_hz))
    assert outcome.erle_db(0.3, 5) >= 20
    assert outcome.erle_db(5.5, 8) >= 25
    assert outcome.near_gain_db >= -3
    assert canceller.erle_db is not None
    assert canceller.erle_db > 0


def test_reset_keeps_the_latency() -> None:
    canceller = AdaptedEchoCanceller(NullEchoCanceller(16000), 48000)
    click, silence = np.zeros(480, np.float32), np.zeros(480, np.float32)
    click[0] = 0.5
    first = [canceller.process(block, block) for block in (click, silence)]
    canceller.reset()
    again = [canceller.process(block, block) for block in (click, silence)]
    np.testing.assert_allclose(np.concatenate(first), np.concatenate(again), atol=1e-6)


def test_other_blocks_than_agreed() -> None:
    canceller = AdaptedEchoCanceller(NullEchoCanceller(16000), 48000, block_frames=256)
    block = np.zeros(480, np.float32)
    with pytest.raises(
        UnsupportedFormat, match=r"far is float32 of shape \[480\]: need float32 of shape \[256\]"
    ):
        canceller.process(block, block)
