"""The playout buffer in calls of ten minutes on seeded networks, in virtual time."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pytest

from rtc_audio.opus import OpusDecoder
from rtc_audio.playout import PlayoutBuffer
from support.voice_link import Delays, bursty, jittery, lossy, packets, play, roughness, stalling

RATE_HZ = 16000
SECONDS, TAIL_SECONDS = 600, 0.5
LOOP_SECONDS = 20  # of speech, again and again
LAST_SAMPLE_SECONDS = 0.040  # after the target
LOSSY_ROUGHNESS = 1.5  # what FEC brings may be rougher than what was sent


class Call(NamedTuple):
    """A network, and the most that is allowed."""

    delays: Callable[[int], Delays]
    mean_ms: float
    worst_ms: float
    silence_ms: float  # put in, the tail's half second too
    roughness: float = 1.1  # times that of the sound that was sent
    paused: bool = False


def outage(count: int) -> Delays:
    return [None if i % 3000 >= 2950 else 0.0 for i in range(count)]


def pausing(count: int) -> Delays:
    return [0.0 if i % 500 < 400 else None for i in range(count - 100)]


CALLS = {
    "clean": Call(lambda n: [0.0] * n, 34, 60, 500),
    "jitter 0-60 ms": Call(lambda n: jittery(n, 0.06), 100, 130, 500),
    "loss 1 %": Call(lambda n: lossy(n, 0.01), 55, 80, 500, LOSSY_ROUGHNESS),
    "loss 5 %": Call(lambda n: lossy(n, 0.05), 55, 110, 500, LOSSY_ROUGHNESS),
    "loss 10 %": Call(lambda n: lossy(n, 0.1), 55, 130, 500, LOSSY_ROUGHNESS),
    "loss 20 %": Call(lambda n: lossy(n, 0.2), 58, 200, 500, LOSSY_ROUGHNESS),
    "bursts 5 %": Call(bursty, 58, 380, 2000),
    "1 s outage every minute": Call(outage, 48, 1060, 9600),
    "200 ms stall every 5 s": Call(lambda n: stalling(n, 0.2, 5.0), 175, 260, 2300),
    "sender pauses 2 of 10 s": Call(pausing, 245, 2060, 112_000, paused=True),
}


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", CALLS)
def test_a_call_of_ten_minutes_stays_within_its_bounds(name: str) -> None:
    call, loop = CALLS[name], packets(LOOP_SECONDS)
    delays = call.delays(SECONDS * 50)
    playout = PlayoutBuffer(OpusDecoder(RATE_HZ), RATE_HZ)
    payloads = [loop[number % len(loop)] for number in range(len(delays))]
    seconds = len(delays) * 0.02 + TAIL_SECONDS
    heard = play(playout, RATE_HZ, payloads, delays, seconds=seconds, paused=call.paused)
    during_ms = heard.delay_seconds[100 : -round(TAIL_SECONDS * 100)] * 1000
    decoder = OpusDecoder(RATE_HZ)
    sent = np.concatenate([decoder.decode(payload) for payload in loop])
    last = max(number for number, delay in enumerate(delays) if delay is not None)
    arrived = last * 0.02 + (delays[last] or 0.0)
    out = np.flatnonzero(heard.media_seconds >= (last + 1) * 0.02 - 1e-6)[0] * 0.01 + 0.004
    assert during_ms.mean() <= call.mean_ms
    assert during_ms.max() <= call.worst_ms
    assert playout.stats.silence_ms <= call.silence_ms
    assert roughness(heard.pcm) <= call.roughness * roughness(sent)
    assert out - arrived <= playout.target_seconds + LAST_SAMPLE_SECONDS
