"""A voice, a network and a sound card in virtual time, for tests of what plays packets."""

import functools
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from rtc_audio.opus import OpusEncoder

Mono = NDArray[np.float32]
Delays = Sequence[float | None]
"""Seconds for each packet; None: lost."""

RTP_CLOCK_HZ = 48000
FIRST_SEQUENCE, FIRST_TIMESTAMP = 65400, 2**32 - 9600  # both wrap early on
CODEC_SECONDS = 0.0265  # 20 ms framing, 6.5 ms look-ahead


@functools.cache
def voice(seconds: float, seed: int = 1) -> Mono:
    """Half a second of silence, then syllables of gliding harmonics, and pauses; 48 kHz mono, peak 0.3."""
    generator, parts = np.random.default_rng(seed), [np.zeros(RTP_CLOCK_HZ // 2)]
    while sum(map(len, parts)) < seconds * RTP_CLOCK_HZ:
        count, order = int(generator.uniform(0.1, 0.26) * RTP_CLOCK_HZ), np.arange(1, 25)[:, None]
        hz = np.linspace(generator.uniform(104, 163), generator.uniform(104, 163), count)
        formants = generator.uniform((250, 900), (850, 2300))
        level = sum(np.exp(-(((order * 130 - formant) / 200) ** 2)) for formant in formants)
        sound = ((level + 0.01) * np.sin(order * 2 * np.pi * np.cumsum(hz) / RTP_CLOCK_HZ)).sum(0)
        pause = np.zeros(int(generator.choice((0, 0, 0, 0, 0.3)) * RTP_CLOCK_HZ))
        parts += [sound * np.sin(np.pi * np.arange(count) / count) ** 0.6, pause]
    signal = np.concatenate(parts)[: round(seconds * RTP_CLOCK_HZ)]
    loud: Mono = (0.3 * signal / np.abs(signal).max()).astype(np.float32)
    return loud


@functools.cache
def packets(seconds: float, frame_ms: float = 20) -> tuple[bytes, ...]:
    """The voice as Opus with FEC."""
    encoder = OpusEncoder(frame_ms=frame_ms, bitrate_bps=32000, expected_loss_percent=10, complexity=1)
    pcm, step = voice(seconds), encoder.frame_samples
    return tuple(encoder.encode(pcm[at : at + step]) for at in range(0, len(pcm) - step + 1, step))


# ---- networks


def lossy(count: int, share: float) -> Delays:
    rng = random.Random(8)
    return [None if rng.random() < share else 0.0 for _ in range(count)]


def bursty(count: int) -> Delays:
    rng, lost, delays = random.Random(8), False, list[float | None]()
    for _ in range(count):
        lost = rng.random() >= 1 / 3 if lost else rng.random() < 0.0175
        delays.append(None if lost else 0.0)
    return delays


def jittery(count: int, most: float) -> Delays:
    rng = random.Random(8)
    delays = [rng.random() * most for _ in range(count)]
    for i in range(1, count):
        delays[i] = max(delays[i], delays[i - 1] - 0.02)
    return delays


def stalling(count: int, seconds: float, every: float) -> Delays:
    at = [(i * 0.02 - 2) % every if i >= 100 else every for i in range(count)]
    return [max(0.0, seconds - late) for late in at]


# ---- playing


class Engine(Protocol):
    def insert(self, sequence: int, timestamp: int, payload: bytes, now: float) -> None: ...
    def pull(self, count: int, now: float) -> Mono: ...
    @property
    def media_seconds(self) -> float: ...


@dataclass(frozen=True)
class Heard:
    pcm: Mono
    delay_seconds: NDArray[np.float64]
    """Mouth to ear at each pull."""
    media_seconds: NDArray[np.float64]
    """Of what had been played before each pull, from the first packet on."""


def play(
    engine: Engine,
    rate_hz: int,
    payloads: Sequence[bytes],
    delays: Delays,
    *,
    seconds: float | None = None,
    frame_seconds: float = 0.020,
    host_seconds: float = 0.001,
    sender_ppm: float = 0,
    puller_ppm: float = 0,
    paused: bool = False,
    on_pull: Callable[[float], None] = lambda now: None,
) -> Heard:
    """Delivers each packet after its delay and pulls 10 ms at a time, for as long as the packets last.

    Both ends count these times on clocks that may be fast. `paused`: packets without a delay were not lost but never
    sent, and took no number.
    """
    sender, puller = 1 + sender_ppm * 1e-6, 1 + puller_ppm * 1e-6
    rng, block = random.Random(3), rate_hz // 100
    arrivals = sorted(
        (i * frame_seconds / sender + delay + rng.random() * host_seconds, i)
        for i, delay in enumerate(delays)
        if delay is not None
    )
    numbers = np.cumsum([delay is not None or not paused for delay in delays]) - 1
    heard, media, at = [], [], 0
    step = round(frame_seconds * RTP_CLOCK_HZ)
    pulls = round((seconds or len(payloads) * frame_seconds) * 100)
    pulled_at = 0.004 + np.arange(pulls) * 0.01 / puller
    for now in pulled_at.tolist():
        while at < len(arrivals) and arrivals[at][0] <= now:
            arrived, i = arrivals[at]
            at += 1
            sequence = FIRST_SEQUENCE + int(numbers[i]) & 0xFFFF
            engine.insert(sequence, FIRST_TIMESTAMP + i * step & 0xFFFFFFFF, payloads[i], arrived)
        on_pull(now)
        media.append(engine.media_seconds - FIRST_TIMESTAMP / RTP_CLOCK_HZ)
        heard.append(engine.pull(block, now))
    media_seconds = np.array(media)
    delay_seconds = pulled_at - media_seconds / sender + CODEC_SECONDS
    return Heard(np.concatenate(heard), delay_seconds, media_seconds)


def roughness(pcm: Mono) -> float:
    """The largest second difference: what a click raises."""
    return float(np.abs(np.diff(pcm, 2)).max())
