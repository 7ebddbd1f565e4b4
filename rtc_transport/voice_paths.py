"""The two ways from packets to sound: through an adaptive playout, or at once. Mono at one of Opus' rates.

Each takes what either receiver delivers: packets from the own one, PCM from aiortc's stock track.
"""

import asyncio
from collections.abc import Callable
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from rtc_audio.decoded import DecodedBuffer
from rtc_audio.immediate import ImmediateDecoder, Piece
from rtc_audio.opus import OpusDecoder
from rtc_audio.playout import PlayoutBuffer
from rtc_audio.playout_stats import PlayoutStats
from rtc_audio.resampler import StreamResampler

Mono = NDArray[np.float32]


class BufferedPath:
    """Packets wait until they are due; the sink pulls."""

    def __init__(self, rate_hz: int, late: Literal["keep", "drop"]) -> None:
        self.rate_hz = rate_hz
        self._decoder = OpusDecoder(rate_hz)
        self._playout: PlayoutBuffer | DecodedBuffer = PlayoutBuffer(self._decoder, rate_hz, late=late)
        self._resampler: StreamResampler | None = None
        self._marked_seconds = 0.0

    def packet(self, sequence: int, timestamp: int, payload: bytes, now: float) -> None:
        """Keeps a packet until it is due."""
        if isinstance(self._playout, PlayoutBuffer):
            self._playout.insert(sequence, timestamp, payload, now)

    def decoded(self, pcm: Mono, rate_hz: int, now: float) -> None:
        """Keeps PCM until it is due; the first switches to a playout for PCM."""
        if not isinstance(self._playout, DecodedBuffer):
            self._playout = DecodedBuffer(self.rate_hz)
            self._resampler = StreamResampler(rate_hz, self.rate_hz)
        assert self._resampler is not None
        self._playout.push(self._resampler.push(pcm), now)

    def pull(self, count: int) -> Mono:
        """Exactly `count` samples to be played now."""
        return self._playout.pull(count, _now())

    def restart(self) -> None:
        """A new stream of packets begins."""
        if isinstance(self._playout, PlayoutBuffer):
            self._playout.reset()

    def flush(self) -> None:
        """Fades out and drops what waits."""
        self._playout.flush(_now())
        self._decoder.reset()  # or its overlap would bring the end of the dropped sound back with the next packet

    def close(self) -> None:
        """Nothing is held."""

    def mark(self) -> None:
        """What `played_ms` counts begins with what comes now."""
        if isinstance(self._playout, DecodedBuffer):
            self._marked_seconds = self._playout.pushed_seconds

    def played_ms(self, timestamp: int) -> float:
        """How much was played of the media since `timestamp`, which was the newest at `mark()`."""
        if isinstance(self._playout, PlayoutBuffer):
            return self._playout.played_ms(timestamp)
        return self._playout.played_ms(self._marked_seconds)

    @property
    def stats(self) -> PlayoutStats:
        """The playout's counters."""
        return self._playout.stats

    @property
    def delay_seconds(self) -> float:
        """What sound waits in the playout."""
        return self._playout.delay_seconds

    @property
    def target_seconds(self) -> float:
        """What the playout aims at."""
        return self._playout.target_seconds


class DirectPath:
    """Packets are decoded as they come, in order; holes wait a moment for FEC, then are filled.

    `write(pcm, at_seconds)` is told on the loop's clock when its sound begins: what comes at once lies end to end.
    """

    target_seconds = delay_seconds = 0.0

    def __init__(self, rate_hz: int, write: Callable[[Mono, float], None]) -> None:
        self.rate_hz = rate_hz
        self._write = write
        self._decoder = ImmediateDecoder(OpusDecoder(rate_hz), rate_hz)
        self._resampler: StreamResampler | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._written = self._marked = 0  # samples
        self._stock = PlayoutStats()  # of what another receiver has decoded

    def packet(self, sequence: int, timestamp: int, payload: bytes, now: float) -> None:
        """Writes what can be said with this packet."""
        self._deliver(self._decoder.insert(sequence, timestamp, payload, now), now)
        self._set_timer()

    def decoded(self, pcm: Mono, rate_hz: int, now: float) -> None:
        """Writes PCM of the stock receiver."""
        if self._resampler is None:
            self._resampler = StreamResampler(rate_hz, self.rate_hz)
        self._stock += PlayoutStats(received=1, decoded_ms=1000 * len(pcm) / rate_hz)
        self._deliver([(self._resampler.push(pcm), 0)], now)

    def restart(self) -> None:
        """A new stream of packets begins."""
        self._decoder.reset()
        self._set_timer()

    def flush(self) -> None:
        """Nothing waits to be played."""

    def close(self) -> None:
        """Stops waiting for what is missing."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def mark(self) -> None:
        """What `played_ms` counts begins with what comes now."""
        self._marked = self._written

    def played_ms(self, timestamp: int) -> float:
        """All that was written since `mark()`."""
        return (self._written - self._marked) * 1000 / self.rate_hz

    @property
    def stats(self) -> PlayoutStats:
        """The decoder's counters."""
        return self._decoder.stats + self._stock

    def _deliver(self, pieces: list[Piece], now: float) -> None:
        """Hands over what has come at once: the last piece begins now, the others lie in front of it."""
        at_seconds = now - sum(len(pcm) for pcm, _ in pieces[:-1]) / self.rate_hz
        for pcm, _ in pieces:
            self._written += len(pcm)
            self._write(pcm, at_seconds)
            at_seconds += len(pcm) / self.rate_hz

    def _set_timer(self) -> None:
        if self._timer is not None:
            self.close()
        if (deadline := self._decoder.deadline) is not None:
            self._timer = asyncio.get_running_loop().call_at(deadline, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        self._deliver(self._decoder.tick(now := _now()), now)
        self._set_timer()


def _now() -> float:
    return asyncio.get_running_loop().time()
