"""The remote voice from arriving packets to the sink that plays it.

A sink that pulls is served by an adaptive playout buffer; one with ``delay="none"`` is written to as the packets
come. Without a sink the voice is drained all the same, so that positions and events do not depend on somebody
listening. Everything runs on the event loop.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from rtc_audio.opus import RATES_HZ
from rtc_audio.playout_stats import PlayoutStats
from rtc_audio.ports import AudioSink, Pcm
from rtc_audio.resampler import PullResampler, StreamResampler
from rtc_audio.sinks import NullSink

from .protocol.effects import Playback
from .voice_paths import BufferedPath, DirectPath

logger = logging.getLogger("rtc_transport.voice")

AUDIBLE_PEAK = 10 ** (-55 / 20)
AUDIBLE_TAIL_SECONDS = 0.1
STRAGGLER_SECONDS = 0.04  # a control message may overtake the sound that was sent before it
STOCK_SECONDS = 0.12  # aiortc's jitter buffer keeps four packets back, its decoder another
RTP_TICKS_PER_MS = 48

Tap = Callable[[Pcm, int, float], None]
"""tap(pcm [n, 1], rate_hz, at_seconds): what is handed to the sink, and when it begins, on the loop's clock."""


class RemoteVoice:
    """A `VoiceInput` that serves one sink after another; `begin` and `end` frame a call.

    `late` says what happens to speech that arrives after a stall: "keep" plays it late, "drop" skips it.
    `on_error` is told of sinks that raise.
    """

    def __init__(
        self, *, late: Literal["keep", "drop"] = "keep", on_error: Callable[[Exception], None] | None = None
    ) -> None:
        self._late: Literal["keep", "drop"] = late
        self._on_error = on_error
        self.tap: Tap | None = None
        self.on_audible: Callable[[float], None] | None = None
        """Told, with the time, of every piece handed to the sink that can be heard."""
        self._sink: AudioSink = NullSink()
        self._running = False
        self._path: BufferedPath | DirectPath = BufferedPath(48000, late)
        self._drop_until: float | None = None
        self._newest: int | None = None
        self._mark: int | None = None
        self._decoded_ticks = 0  # of what the stock receiver has brought
        self._played_before_ms = 0.0  # since the mark, by sinks before this one
        self._stats_before = PlayoutStats()
        self._audible_at = float("-inf")
        self.dropped_packets = 0
        """Packets of this call that came while an interruption was dropping them."""

    # ---- the call

    async def begin(self, sink: AudioSink | None) -> None:
        """Starts `sink` (None: the voice is drained) with fresh buffers; what its start raises comes out."""
        self._drop_until = self._newest = self._mark = None
        self._audible_at = float("-inf")
        await self._use(sink or NullSink())
        self._stats_before, self._played_before_ms, self.dropped_packets = PlayoutStats(), 0.0, 0
        self._running = True

    async def exchange(self, sink: AudioSink | None) -> None:
        """Goes on with another sink; if it cannot be started, the old one stays and its error comes out."""
        old = self._sink
        if self._running:
            await self._use(sink or NullSink())
            await self._close_sink(old)

    async def end(self, sink: AudioSink | None) -> None:
        """Stops the sink that is served, or releases `sink` if none is yet; idempotent."""
        if self._running:
            self._running, sink = False, self._sink
            self._path.close()
        if sink is not None:
            await self._close_sink(sink)

    async def _use(self, sink: AudioSink) -> None:
        rate_hz = sink.rate_hz if sink.rate_hz in RATES_HZ else 48000
        if getattr(sink, "delay", "adaptive") == "none":
            convert = StreamResampler(rate_hz, sink.rate_hz).push if rate_hz != sink.rate_hz else None
            path: BufferedPath | DirectPath = DirectPath(
                rate_hz, lambda pcm, at: self._write(sink, pcm if convert is None else convert(pcm), at)
            )
            await sink.start(lambda n: np.zeros((n, 1), np.float32))
        else:
            path = buffered = BufferedPath(rate_hz, self._late)
            take = PullResampler(lambda n: buffered.pull(n)[:, None], rate_hz, sink.rate_hz).pull
            await sink.start(lambda n: self._handed_over(take(n), sink.rate_hz, _now()))
        self._stats_before, self._played_before_ms = self.stats, self._played_ms()
        self._path.close()
        self._path, self._sink = path, sink

    async def _close_sink(self, sink: AudioSink) -> None:
        try:
            await sink.aclose()
        except Exception as error:  # noqa: BLE001 - the application's sink: reported, the call is not its victim
            self._report(error)

    def _write(self, sink: Any, pcm: NDArray[np.float32], at_seconds: float) -> None:
        try:
            sink.write(self._handed_over(pcm, sink.rate_hz, at_seconds))
        except Exception as error:  # noqa: BLE001 - the application's sink: reported, the media path goes on
            self._report(error)

    def _handed_over(self, pcm: NDArray[np.float32], rate_hz: int, at_seconds: float) -> Pcm:
        if pcm.size and (pcm.max() > AUDIBLE_PEAK or pcm.min() < -AUDIBLE_PEAK):
            self._audible_at = _now()
            if self.on_audible is not None:
                self.on_audible(self._audible_at)
        shaped: Pcm = pcm.reshape(-1, 1)
        if self.tap is not None:
            self.tap(shaped, rate_hz, at_seconds)
        return shaped

    def _report(self, error: Exception) -> None:
        if self._on_error is not None:
            self._on_error(error)

    # ---- VoiceInput

    def packet(self, sequence: int, timestamp: int, payload: bytes, now: float) -> None:
        """An arriving Opus packet."""
        self._newest = timestamp
        if self._dropping(now):
            self.dropped_packets += 1
        else:
            self._path.packet(sequence, timestamp, payload, now)

    def restart(self) -> None:
        """A new stream of packets begins."""
        self._mark = None
        self._path.restart()

    def decoded(self, pcm: NDArray[np.float32], rate_hz: int, now: float) -> None:
        """PCM of the stock receiver."""
        self._newest = self._decoded_ticks & 0xFFFFFFFF
        self._decoded_ticks += round(len(pcm) * 1000 * RTP_TICKS_PER_MS / rate_hz)
        if self._dropping(now):
            self.dropped_packets += 1
        else:
            self._path.decoded(pcm, rate_hz, now)

    def _dropping(self, now: float) -> bool:
        if self._drop_until is not None and now >= self._drop_until:
            self._drop_until = None
        return self._drop_until is not None

    # ---- what the conversation asks

    def stop(self, drop_until: float | None) -> None:
        """Fades out what plays and drops what waits; drops what comes until `drop_until` or `resume()`."""
        self._path.flush()
        if callable(flush := getattr(self._sink, "flush", None)):  # a device has sound in its own ring
            flush()
        self._drop_until = drop_until

    def resume(self) -> None:
        """Plays again what comes, but for the packets that left before the service was silent."""
        if self._drop_until is not None:
            held_back = STOCK_SECONDS if self._decoded_ticks else 0.0
            self._drop_until = _now() + STRAGGLER_SECONDS + held_back

    def mark(self) -> None:
        """The voice of a response begins with what comes now."""
        self._drop_until = None
        self._mark = self._newest
        self._played_before_ms = 0.0
        self._path.mark()

    def playback(self) -> Playback:
        """What has come and been played since `mark()`, and whether the voice can be heard now."""
        if self._mark is None or self._newest is None:
            return Playback()
        received = (self._newest - self._mark) & 0xFFFFFFFF
        received = received if received < 1 << 31 else 0
        latency_ms = 1000 * float(getattr(self._sink, "latency_seconds", 0.0))
        played = self._played_ms() - latency_ms
        return Playback(
            played_ms=max(0, round(played)),
            received_ms=received // RTP_TICKS_PER_MS,
            playing=_now() - self._audible_at < AUDIBLE_TAIL_SECONDS,
        )

    def _played_ms(self) -> float:
        now = 0.0 if self._mark is None else self._path.played_ms(self._mark)
        return self._played_before_ms + now

    @property
    def stats(self) -> PlayoutStats:
        """The counters of all playouts of this call."""
        return self._stats_before + self._path.stats

    @property
    def delay_seconds(self) -> float:
        """How long sound waits between its arrival and its playing, at the moment."""
        return self._path.delay_seconds

    @property
    def target_seconds(self) -> float:
        """The delay that the playout aims at."""
        return self._path.target_seconds


def _now() -> float:
    return asyncio.get_running_loop().time()
