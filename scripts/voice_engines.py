"""What plays beside ours in the voice bench: a fixed playout, and stock aiortc."""

from collections import deque
from typing import cast

import numpy as np
from av import AudioFrame
from voice_link import FIRST_SEQUENCE, FIRST_TIMESTAMP, RTP_CLOCK_HZ, Mono

from rtc_audio.opus import OpusDecoder

RATE_HZ = 24000


class FixedPlayout:
    """The limit: one delay for the whole call, chosen in hindsight; libopus' FEC and concealment."""

    def __init__(self, delay_seconds: float) -> None:
        self._decoder, self._delay = OpusDecoder(RATE_HZ), delay_seconds
        self._payloads: dict[int, bytes] = {}
        self._ready = np.zeros(0, np.float32)
        self._next: int | None = None

    def insert(self, sequence: int, timestamp: int, payload: bytes, now: float) -> None:
        self._payloads[(sequence - FIRST_SEQUENCE) & 0xFFFF] = payload

    @property
    def media_seconds(self) -> float:
        return FIRST_TIMESTAMP / RTP_CLOCK_HZ + (self._next or 0) * 0.020 - len(self._ready) / RATE_HZ

    def pull(self, count: int, now: float) -> Mono:
        if self._next is None:
            if now < self._delay:
                return np.zeros(count, np.float32)
            self._next = 0
        while len(self._ready) < count:
            self._ready = np.concatenate((self._ready, self._frame(self._next)))
            self._next += 1
        pcm, self._ready = self._ready[:count], self._ready[count:]
        return pcm

    def _frame(self, number: int) -> Mono:
        payload, behind = self._payloads.pop(number, None), self._payloads.get(number + 1)
        if payload is not None:
            return self._decoder.decode(payload)
        if behind is not None and self._decoder.has_fec(behind):
            return self._decoder.decode_fec(behind, RATE_HZ // 50)
        return self._decoder.conceal(RATE_HZ // 50)


class StockPlayout:
    """aiortc's own jitter buffer and decoder, and behind them a plain queue that the sound card empties."""

    rate_hz = 48000

    def __init__(self) -> None:
        from aiortc.codecs.opus import OpusDecoder as StockDecoder
        from aiortc.jitterbuffer import JitterBuffer

        self._jitter, self._decoder = JitterBuffer(capacity=16, prefetch=4), StockDecoder()
        self._frames: deque[tuple[int, Mono]] = deque()  # media time, sound
        self._ticks = FIRST_TIMESTAMP

    def insert(self, sequence: int, timestamp: int, payload: bytes, now: float) -> None:
        from aiortc.rtp import RtpPacket

        packet = RtpPacket(payload_type=96, sequence_number=sequence, timestamp=timestamp, payload=payload)
        packet._data = payload  # type: ignore[attr-defined]  # what the receiver sets
        _, frame = self._jitter.add(packet)
        if frame is None:
            return
        for sound in cast("list[AudioFrame]", self._decoder.decode(frame)):
            ticks = FIRST_TIMESTAMP + ((frame.timestamp - FIRST_TIMESTAMP) & 0xFFFFFFFF)
            pcm = sound.to_ndarray().reshape(-1, 2)[:, 0].astype(np.float32) / np.float32(32768)
            self._frames.append((ticks, pcm))

    @property
    def media_seconds(self) -> float:
        return (self._frames[0][0] if self._frames else self._ticks) / RTP_CLOCK_HZ

    def pull(self, count: int, now: float) -> Mono:
        out = np.zeros(count, np.float32)
        at = 0
        while at < count and self._frames:
            ticks, pcm = self._frames.popleft()
            take = min(count - at, len(pcm))
            out[at : at + take] = pcm[:take]
            if take < len(pcm):
                self._frames.appendleft((ticks + take, pcm[take:]))
            at, self._ticks = at + take, ticks + take
        return out
