"""Half an hour of a call without the network, in virtual time: nothing grows, whatever happens in it."""

import gc
import itertools
import random
import sys
from pathlib import Path

import numpy as np
import pytest

from rtc_audio import PushSource, ToneSource, Uplink
from rtc_audio.immediate import ImmediateDecoder
from rtc_audio.opus import OpusDecoder, OpusEncoder
from rtc_audio.playout import PlayoutBuffer
from rtc_audio.ports import AudioSource, Pcm
from rtc_audio.recorder import StereoTimeline
from rtc_audio.resampler import PullResampler

RATE_HZ, FRAME_SECONDS = 8000, 0.06  # as cheap as a call can be
FRAME = round(RATE_HZ * FRAME_SECONDS)
MINUTE = round(60 / FRAME_SECONDS)


class Faulty:
    """A source that changes its format, raises, has nothing and returns what is no sound."""

    rate_hz, channels, ended = 44100, 2, False

    def __init__(self) -> None:
        self._random = random.Random(4)

    async def start(self) -> None: ...
    async def aclose(self) -> None: ...

    def read(self, n: int, /) -> Pcm:
        match self._random.randrange(60):
            case 0:
                self.rate_hz, self.channels = self._random.choice([(16000, 1), (44100, 2), (48000, 1)])
                raise RuntimeError("not now")
            case 1:
                return np.full((n, self.channels), np.nan, np.float32)
            case 2:
                return np.zeros((n // 2, self.channels), np.float32)
        return np.full((n, self.channels), 0.1, np.float32)


class HalfAnHour:
    """Source → uplink → encoder → a link that loses, delays and stalls → both ways out → recorder, frame by frame."""

    def __init__(self) -> None:
        self.errors = 0
        self.uplink = Uplink(RATE_HZ, on_error=self._failed, on_ended=lambda source: None)
        self.encoder = OpusEncoder(RATE_HZ, frame_ms=60, complexity=0, bitrate_bps=12000)
        self.playout = PlayoutBuffer(OpusDecoder(RATE_HZ), RATE_HZ)
        self.immediate = ImmediateDecoder(OpusDecoder(RATE_HZ), RATE_HZ)
        self.recorder = StereoTimeline(RATE_HZ)
        self._to_card = PullResampler(lambda n: self.playout.pull(n, self.now)[:, None], RATE_HZ, 44100)
        self._random = random.Random(7)
        self._held: list[tuple[int, int, bytes]] = []
        self._frames = itertools.count()
        self.now = 0.0
        self.recorded = 0

    def run(self, minutes: int) -> None:
        for number in itertools.islice(self._frames, minutes * MINUTE):
            self._change(number)
            self._send(number)
            self._play()

    def _failed(self, error: Exception) -> None:
        self.errors += 1

    def _change(self, number: int) -> None:
        sources: tuple[AudioSource | None, ...] = (ToneSource(300, -12), None, Faulty(), PushSource(16000))
        if number % 200 == 0:
            self.uplink.set_source(sources[number // 200 % 4])
        if isinstance(source := self.uplink.source, PushSource):
            source.push(np.full(990, 0.05, np.float32))  # a little more than is read
        if number % 70 == 0:
            self.uplink.muted = not self.uplink.muted
        if number % 1500 == 1499:
            self.playout.flush(self.now)
            self.playout.reset()
            self.immediate.reset()

    def _send(self, number: int) -> None:
        self.now = number * FRAME_SECONDS
        pcm = self.uplink.read(FRAME)
        packet = (number & 0xFFFF, number * 2880 & 0xFFFFFFFF, self.encoder.encode(pcm))
        if self._random.random() > 0.03:
            self._held.append(packet)
        if number % 300 < 7 or self._random.random() < 0.05:
            return  # a stall of 0.4 s, or jitter
        for sequence, timestamp, payload in self._held:
            self.playout.insert(sequence, timestamp, payload, self.now)
            self.immediate.insert(sequence, timestamp, payload, self.now)
        self._held.clear()
        self.recorded += len(self.recorder.insert_user(pcm[:, None], RATE_HZ, self.now))

    def _play(self) -> None:
        pcm = self._to_card.pull(round(44100 * FRAME_SECONDS))
        self.recorded += len(self.recorder.insert_model(pcm, 44100, self.now))


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
@pytest.mark.timeout(300)
def test_half_an_hour_does_not_grow() -> None:
    call = HalfAnHour()
    call.run(5)
    gc.collect()
    blocks, resident = sys.getallocatedblocks(), resident_bytes()
    call.run(25)
    gc.collect()
    assert sys.getallocatedblocks() - blocks < 2000, "0.1 for each frame"
    assert resident_bytes() - resident < 4e6
    assert call.errors > 50
    assert call.uplink.nonfinite_samples > 0
    assert call.playout.stats.lost + call.playout.stats.late > 500
    assert call.recorded == pytest.approx(30 * 60 * RATE_HZ, rel=0.01)
