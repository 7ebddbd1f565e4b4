"""Packets to sound as they come, for files and recognition: in order, without gaps, without a playout delay."""

import math
from collections import Counter

import numpy as np

from .errors import AudioError
from .expansion import CONTEXT_SECONDS, Expansion, bridge, crossfade
from .packet_queue import Packet, PacketQueue
from .playout import Decoder
from .playout_stats import PlayoutStats
from .rtp_timeline import RTP_CLOCK_HZ
from .tape import Mono

Piece = tuple[Mono, int]
"""PCM [frame] and the media time of its first sample: the RTP timestamp, but it never wraps or jumps back."""

MAX_WAITING = 64  # packets behind a hole
QUEUE_SECONDS = 10.0  # of media that so many packets may hold
BRIDGE_SECONDS = 0.4  # of a gap that is more than silence
SILENCE_SECONDS = 1.0  # the longest piece of silence
FADE_SECONDS = 0.005  # into silence and out of it
MAX_PAUSE_SECONDS = 60.0  # a longer pause of the sender shows in the media time only


class ImmediateDecoder:
    """Every call returns what can be told by then; a hole waits `reorder_seconds` for its packets, then is filled.

    Filled means: from FEC as far as the packet behind the hole carries it, else bridged from both sides; a pause of
    the sender (DTX) with silence, which is read-only. Pieces follow each other without a gap in media time.
    `decoder` decodes to mono at `rate_hz`. Single-threaded; `now` is any monotonic clock in seconds.
    """

    def __init__(self, decoder: Decoder, rate_hz: int = 48000, *, reorder_seconds: float = 0.06) -> None:
        if rate_hz < 8000 or RTP_CLOCK_HZ % rate_hz:
            raise ValueError(f"rate_hz must be 8000 or more and divide {RTP_CLOCK_HZ}, not {rate_hz}")
        if not 0 <= reorder_seconds <= 1:
            raise ValueError(f"reorder_seconds must be 0 to 1, not {reorder_seconds}")
        self._decoder, self._rate_hz, self._reorder = decoder, rate_hz, reorder_seconds
        self._scale = RTP_CLOCK_HZ // rate_hz
        self._packet_counts: Counter[str] = Counter()
        self._sample_counts: Counter[str] = Counter()
        self._queue = PacketQueue(QUEUE_SECONDS, self._packet_counts)
        self._context = math.ceil(CONTEXT_SECONDS * rate_hz)
        self._past = [
            np.zeros(self._context, np.float32)
        ]  # the last pieces, at least the context of an expansion
        self._past_samples = self._context
        self._end_ticks: int | None = None  # media time behind the last piece
        self._hole_since: float | None = None
        self._fade = round(FADE_SECONDS * rate_hz)
        self._paused = False  # the next piece begins in silence
        self._silence = np.zeros(round(SILENCE_SECONDS * rate_hz), np.float32)
        self._silence.flags.writeable = False  # it is handed out again and again

    def insert(self, sequence: int, timestamp: int, payload: bytes, now: float) -> list[Piece]:
        """Takes a packet (raw RTP numbers). Never raises; empty payloads are padding."""
        if payload:
            self._packet_counts["received"] += 1
            try:
                duration = self._decoder.frame_samples(payload) * self._scale
            except AudioError:
                self._packet_counts["malformed"] += 1
            else:
                self._queue.insert(sequence, timestamp, duration, payload, now)
        return self.tick(now)

    def tick(self, now: float) -> list[Piece]:
        """What is due: to be called at `deadline`, too."""
        pieces: list[Piece] = []
        while (head := self._queue.head()) is not None:
            packet, hole = head
            if self._hole_since is None:
                self._hole_since = now
            if hole and now < self._hole_since + self._reorder and len(self._queue) < MAX_WAITING:
                break
            self._pause(pieces)
            self._decode(packet, hole, pieces)
            self._hole_since = None
        return pieces

    def flush(self) -> list[Piece]:
        """All that waits, at once."""
        return self.tick(math.inf)

    def reset(self) -> None:
        """Another stream (a new SSRC) begins with the next packet."""
        self._queue.restart()

    @property
    def deadline(self) -> float | None:
        """When `tick` will have something even if no packet comes; None if it will not."""
        return None if self._hole_since is None else self._hole_since + self._reorder

    @property
    def stats(self) -> PlayoutStats:
        """What has happened so far."""
        return PlayoutStats.of(self._packet_counts, self._sample_counts, self._rate_hz)

    def _decode(self, packet: Packet, hole: int, pieces: list[Piece]) -> None:
        missing = (packet.ticks - self._queue.next_ticks) // self._scale if hole else 0
        fec = hole > 0 and self._decoder.has_fec(packet.payload)
        try:
            if fec:
                samples = packet.duration // self._scale
                pcm, until = self._decoder.decode_fec(packet.payload, samples)[-missing:], packet.ticks
                missing -= len(pcm)
            else:
                pcm, until = self._decoder.decode(packet.payload), packet.end
        except AudioError:
            return self._queue.drop(packet)
        if self._paused:
            pcm = crossfade(self._silence, pcm, self._fade)
            self._paused = False
        if missing > 0:
            self._bridge(pcm, missing, pieces)
        self._sample_counts["fec" if fec else "decoded"] += len(pcm)
        self._deliver(pcm, pieces)
        self._queue.use(packet, until=until)
        self._end_ticks = until

    def _bridge(self, future: Mono, missing: int, pieces: list[Piece]) -> None:
        """Something for `missing` samples: the neighbours fade out into the gap, silence is in the middle."""
        count = min(missing, round(BRIDGE_SECONDS * self._rate_hz))
        self._sample_counts["concealed"] += count
        pcm = bridge(self._expansion(), future, count, self._rate_hz)
        self._deliver(pcm[: count // 2], pieces)
        self._deliver_silence(missing - count, pieces)
        self._deliver(pcm[count // 2 :], pieces)

    def _expansion(self) -> Expansion:
        return Expansion(np.concatenate(self._past)[-self._context :], self._rate_hz)

    def _pause(self, pieces: list[Piece]) -> None:
        """Silence for media time that was never sent, into which the sound before it fades."""
        if self._end_ticks is not None:
            samples = (self._queue.next_ticks - self._end_ticks) // self._scale
            if 0 < samples <= MAX_PAUSE_SECONDS * self._rate_hz:
                fading = min(samples, self._fade)
                fall = np.cos(np.linspace(0, np.pi / 2, fading, dtype=np.float32)) ** 2
                self._sample_counts["silence"] += fading
                self._deliver(self._expansion().take(fading) * fall, pieces)
                self._deliver_silence(samples - fading, pieces)
                self._paused = True
        self._end_ticks = self._queue.next_ticks

    def _deliver_silence(self, samples: int, pieces: list[Piece]) -> None:
        self._sample_counts["silence"] += samples
        while samples > 0:
            self._deliver(self._silence[:samples], pieces)
            samples -= len(self._silence)

    def _deliver(self, pcm: Mono, pieces: list[Piece]) -> None:
        if not len(pcm):
            return
        start = self._queue.next_ticks if self._end_ticks is None else self._end_ticks
        pieces.append((pcm, start))
        self._end_ticks = start + len(pcm) * self._scale
        self._past.append(pcm)
        self._past_samples += len(pcm)
        while self._past_samples - len(self._past[0]) >= self._context:
            self._past_samples -= len(self._past.pop(0))
