"""The far end lined up in time with the near end, over two devices with clocks and rates of their own."""

import numpy as np
import pytest
from numpy.typing import NDArray

from rtc_audio.echo_kalman import KalmanEchoCanceller
from rtc_audio.echo_reference import FarReference, StreamClock
from support.echo_scenes import convolve, resampled, rms, room, speech_like

Mono = NDArray[np.float32]
START = 1000.0  # seconds


def tone(seconds: NDArray[np.float64]) -> Mono:
    return (0.3 * np.sin(2 * np.pi * 100 * seconds)).astype(np.float32)


def late_by(out: NDArray[np.float32], seconds: NDArray[np.float64]) -> float:
    """By how much `out` is later than `tone(seconds)`, less than 5 ms."""
    turned = out * np.exp(-2j * np.pi * 100 * seconds)
    return -float(np.angle(1j * turned.mean())) / (2 * np.pi * 100)


@pytest.mark.parametrize(
    ("far_rate_hz", "rate_hz", "far_ppm", "near_ppm", "jitter"),
    [(16000, 16000, 0, 0, 0.0), (48000, 16000, 50, -50, 0.002), (44100, 48000, 0, 200, 0.002)],
)
def test_two_devices(far_rate_hz: int, rate_hz: int, far_ppm: float, near_ppm: float, jitter: float) -> None:
    random = np.random.default_rng(1)
    reference = FarReference(rate_hz, far_rate_hz=far_rate_hz, lead_seconds=0.02)
    far_hz, near_hz = far_rate_hz * (1 + far_ppm * 1e-6), rate_hz * (1 + near_ppm * 1e-6)
    far_frames, frames = far_rate_hz // 100, rate_hz // 100
    written, late = 0, []
    for block in range(3000):
        at = START + block * frames / near_hz
        while (sounds := START - 0.05 + written / far_hz) < at + 0.04:
            pcm = tone(sounds + np.arange(far_frames) / far_hz)
            reference.write(pcm, sounds + random.uniform(-jitter, jitter))
            written += far_frames
        out = reference.read(at + random.uniform(-jitter, jitter), frames)
        late.append(late_by(out, at + 0.02 + np.arange(frames) / near_hz))
    assert max(map(abs, late[200:])) < 0.0022  # what 200 ppm add to reading that follows in 10 s
    assert np.abs(np.diff(late[1500:])).max() < 5e-6  # 10 ms later the delay is the same within 500 ppm
    assert reference.drift_ppm == pytest.approx(far_ppm - near_ppm, abs=15)
    assert reference.jumps == 0


def test_nothing_played_is_silence() -> None:
    assert not FarReference(16000).read(START, 160).any()


def test_gap_of_the_loudspeaker_is_silence_in_its_place() -> None:
    reference = FarReference(16000, lead_seconds=0)
    for block in range(20):
        reference.write(np.full(160, 0.5, np.float32), START + block / 100 + (0.3 if block >= 10 else 0))
    out = [reference.read(START + block / 100, 160)[80] for block in range(50)]
    assert out == pytest.approx([0.5] * 10 + [0] * 30 + [0.5] * 10)
    assert reference.jumps == 1


def test_loudspeaker_that_comes_back_much_later_begins_anew() -> None:
    reference = FarReference(16000, lead_seconds=0, capacity_seconds=1)
    reference.write(np.full(160, 0.5, np.float32), START)
    reference.write(np.full(160, 0.25, np.float32), START + 3600)
    assert reference.read(START + 3600, 160)[80] == pytest.approx(0.25)
    assert reference.jumps == 1


def test_microphone_that_has_stopped_reads_on_at_the_right_place() -> None:
    reference = FarReference(16000, lead_seconds=0)
    for block in range(100):
        reference.write(np.full(160, block, np.float32), START + block / 100)
    before = [reference.read(START + block / 100, 160)[80] for block in range(10)]
    after = [reference.read(START + block / 100, 160)[80] for block in range(60, 70)]
    assert before == list(range(10))
    assert after == list(range(60, 70))
    assert reference.jumps == 1


def test_reset_forgets_the_devices() -> None:
    reference = FarReference(16000, lead_seconds=0)
    reference.write(np.ones(160, np.float32), START)
    reference.reset()
    reference.write(np.full(160, 0.5, np.float32), 5.0)
    out = [reference.read(4.99 + block / 100, 160)[80] for block in range(3)]
    assert out == [0, 0.5, 0]
    assert reference.jumps == 0


def test_clock_learns_its_rate_from_jittering_stamps() -> None:
    random = np.random.default_rng(2)
    clock = StreamClock(48000)
    for block in range(6000):
        clock.update(block * 480, START + block * 480 / 48005 + random.uniform(-0.002, 0.002))
    assert 1 / clock.period == pytest.approx(48005, abs=0.5)
    assert clock.seconds(48005 * 50) == pytest.approx(START + 50, abs=2e-4)
    assert clock.position(START + 50) == pytest.approx(48005 * 50, abs=10)


def test_canceller_behind_two_clocks() -> None:
    """The whole chain: a microphone 150 ppm faster than the loudspeaker, stamps that jitter by 1 ms."""
    random = np.random.default_rng(3)
    ppm, seconds, ahead = 150, 12, 6
    far = speech_like(seconds, 1)
    far *= 0.12 / rms(far)
    echo = 0.5 * resampled(convolve(far, room(3, 30)), ppm)
    microphone = (echo + 10 ** (-65 / 20) * random.standard_normal(len(echo))).astype(np.float32)
    reference, canceller = FarReference(16000), KalmanEchoCanceller()
    out: list[Mono] = []
    for block, pcm in enumerate(far.astype(np.float32).reshape(-1, 160)):
        reference.write(pcm, block * 0.01 + random.uniform(-0.001, 0.001))
        if block < ahead or block % 2:  # blocks wait in the loudspeaker's device
            continue
        heard = microphone[320 * len(out) : 320 * (len(out) + 1)]
        at = len(out) * 0.02 * (1 - ppm * 1e-6) + random.uniform(-0.001, 0.001)
        out.append(canceller.process(reference.read(at, 320), heard))
    end = 320 * len(out)
    last = slice(end - 4 * 16000, end)
    left = np.concatenate(out)[-4 * 16000 :]
    assert 20 * np.log10(rms(echo[last]) / rms(left)) >= 25
