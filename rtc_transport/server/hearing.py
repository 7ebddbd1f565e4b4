"""What the server hears: RTP packets or decoded frames of the user's track in, mono 24 kHz out."""

from collections import deque
from collections.abc import Callable

import numpy as np

from rtc_audio.immediate import ImmediateDecoder
from rtc_audio.opus import OpusDecoder
from rtc_audio.resampler import StreamResampler

from .vad import RATE_HZ
from .voice import Mono

KEPT_SECONDS = 60


class Hearing:
    """The `VoiceInput` of a call: decodes as the packets come and hands the sound on, gaps filled.

    `hear(pcm, now)` is called with mono 24 kHz. Until `open` everything is dropped: the session does not run yet.
    """

    def __init__(self, hear: Callable[[Mono, float], None]) -> None:
        self._hear = hear
        self._decoder = ImmediateDecoder(OpusDecoder(RATE_HZ), RATE_HZ)
        self._resampler: StreamResampler | None = None
        self._resampled_hz = 0
        self._kept: deque[Mono] = deque()
        self._kept_samples = 0
        self.open = False
        self.packets = 0

    def packet(self, sequence: int, timestamp: int, payload: bytes, now: float) -> None:
        """An Opus packet."""
        self.packets += 1
        for piece in self._decoder.insert(sequence, timestamp, payload, now):
            self._take(piece[0], now)

    def restart(self) -> None:
        """Another stream begins."""
        self._decoder.reset()

    def decoded(self, pcm: Mono, rate_hz: int, now: float) -> None:
        """A frame of the stock receiver."""
        self.packets += 1
        if self._resampler is None or rate_hz != self._resampled_hz:
            self._resampler, self._resampled_hz = StreamResampler(rate_hz, RATE_HZ), rate_hz
        self._take(self._resampler.push(pcm), now)

    def tick(self, now: float) -> None:
        """Gives up waiting for packets that are late."""
        for piece in self._decoder.tick(now):
            self._take(piece[0], now)

    def kept(self) -> Mono:
        """What was heard in the last minute."""
        return np.concatenate([np.zeros(0, np.float32), *self._kept])

    def _take(self, pcm: Mono, now: float) -> None:
        if not self.open:
            return
        self._kept.append(pcm)
        self._kept_samples += len(pcm)
        while self._kept_samples > KEPT_SECONDS * RATE_HZ:
            self._kept_samples -= len(self._kept.popleft())
        self._hear(pcm, now)
