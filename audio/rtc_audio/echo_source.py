"""The echo canceller as a stage of a call: a source that hears the microphone without the loudspeaker."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np

from .echo import EchoCanceller, EchoKind, Mono, make_echo_canceller
from .echo_reference import FarReference
from .errors import UnsupportedFormat
from .fifo import BlockFifo
from .ports import AudioSink, AudioSource, Pcm

_log = logging.getLogger("rtc_audio.echo")


@runtime_checkable
class TimedSource(AudioSource, Protocol):
    """A source that knows when its sound was recorded: a microphone."""

    @property
    def next_seconds(self) -> float | None:
        """When the frame that the next `read` begins with was recorded (`time.monotonic`); None: not known now."""
        ...


@runtime_checkable
class ReportingSink(AudioSink, Protocol):
    """A sink that tells what it really played, and when: a loudspeaker."""

    on_written: Callable[[Mono, float], None] | None
    """Told of mono `[frame]` at the sink's rate, and when its first frame sounds (`time.monotonic`)."""


@dataclass(frozen=True)
class _Bench:
    """What one rate of the microphone needs."""

    rate_hz: int
    canceller: EchoCanceller
    reference: FarReference


class EchoSource:
    """Passes `source` on, mono, without the echo of what `played` is told of.

    Reads the source in whole blocks of 20 ms and lines both sides up by their times: `next_seconds` where the source
    has it, else its sound was recorded just before it is read. Adds `latency_seconds`, up to 20 ms more where reads are
    no whole blocks. The call does not depend on it: should it fail, `on_error` is told once and the source is passed
    on as it is, until `reset`. `far_rate_hz` is the rate of what was played.

    Can be cleared like the source; it neither starts nor closes it.
    """

    channels = 1

    clear: Callable[[], None]
    """Drops what waits to be read; only there where the source has it, for others are read on while muted."""

    def __init__(
        self,
        source: AudioSource,
        kind: EchoKind,
        far_rate_hz: int,
        *,
        clock: Callable[[], float],
        on_error: Callable[[Exception], None],
    ) -> None:
        self.source = source
        self.failed = False
        """Whether it passes the source on as it is."""
        self._kind: EchoKind = kind
        self._far_rate_hz = far_rate_hz
        self._clock = clock
        self._on_error = on_error
        self._bench: _Bench | None = None
        self._part = np.empty(0, np.float32)  # of a block
        self._ready = BlockFifo(1)
        if callable(getattr(source, "clear", None)):
            self.clear = self._clear

    @property
    def rate_hz(self) -> int:
        """That of the source."""
        return self.source.rate_hz

    @property
    def ended(self) -> bool:
        """Whether the source has ended and all of it has been read."""
        return self.source.ended and not self._ready.frames and not len(self._part)

    @property
    def live(self) -> bool:
        """Whether the sound of the source happens now."""
        return bool(getattr(self.source, "live", False))

    @property
    def latency_seconds(self) -> float:
        """What the canceller adds; 0 while it is passed by or has not begun."""
        return 0.0 if self._bench is None or self.failed else self._bench.canceller.latency_seconds

    @property
    def return_loss_db(self) -> float | None:
        """See `EchoCanceller.erle_db`."""
        return None if self._bench is None or self.failed else self._bench.canceller.erle_db

    async def start(self) -> None:
        """Nothing: the source is its owner's."""

    async def aclose(self) -> None:
        """Nothing: the source is its owner's."""

    def reset(self) -> None:
        """A device has changed: forgets the room and the clocks, and tries again if it had failed."""
        self._bench, self.failed = None, False

    def _clear(self) -> None:
        self._ready.clear()
        self._part = self._part[:0]
        getattr(self.source, "clear")()  # noqa: B009 - not every source has it

    def played(self, pcm: Mono, at_seconds: float) -> None:
        """What the loudspeaker plays, float32 `[frame]` at `far_rate_hz`, its first frame at `at_seconds`."""
        if self._bench is None or self.failed:
            return
        try:
            self._bench.reference.write(pcm, at_seconds)
        except Exception as error:  # noqa: BLE001 - whatever it is, the voice has to be played
            self._fail(error)

    def read(self, n: int, /) -> Pcm:
        """At most n frames `[n, 1]`."""
        missing = n - self._ready.frames
        if missing > 0:
            self._draw(missing)
        return self._ready.take(n)

    def _draw(self, missing: int) -> None:
        """Takes whole blocks of the source until `missing` frames are ready, or it has no more for now."""
        source, rate_hz = self.source, self.source.rate_hz
        block = max(1, rate_hz // 50)
        count = -(-missing // block) * block - len(self._part)
        fresh = _mono(source, source.read(count), count)
        near = np.concatenate([self._part, fresh])
        at_seconds = self._recorded_until() - len(near) / rate_hz
        if source.ended or not len(fresh):  # silence follows
            near = np.concatenate([near, np.zeros(-len(near) % block, np.float32)])
        whole = len(near) // block * block
        self._part = near[whole:]
        for start in range(0, whole, block):
            heard = self._cancel(near[start : start + block], at_seconds + start / rate_hz, rate_hz)
            self._ready.put(heard[:, None])

    def _recorded_until(self) -> float:
        """When the end of what was just read was recorded: a microphone may have left something out before it."""
        next_seconds: float | None = getattr(self.source, "next_seconds", None)
        return self._clock() if next_seconds is None else next_seconds

    def _cancel(self, near: Mono, at_seconds: float, rate_hz: int) -> Mono:
        if self.failed:
            return near
        try:
            bench = self._bench
            if bench is None or bench.rate_hz != rate_hz:
                bench = self._bench = self._set_up(rate_hz, len(near))
            return bench.canceller.process(bench.reference.read(at_seconds, len(near)), near)
        except Exception as error:  # noqa: BLE001 - whatever it is, the user has to be heard
            self._fail(error)
            return near

    def _set_up(self, rate_hz: int, block_frames: int) -> _Bench:
        """For the source's rate of the moment; another device may have another one."""
        return _Bench(
            rate_hz,
            make_echo_canceller(self._kind, rate_hz, block_frames=block_frames),
            FarReference(rate_hz, far_rate_hz=self._far_rate_hz),
        )

    def _fail(self, error: Exception) -> None:
        self.failed = True
        _log.warning("the echo canceller failed; the microphone is passed on as it is", exc_info=error)
        self._on_error(error)


def _mono(source: AudioSource, pcm: Pcm, most: int) -> Mono:
    """The mean of all channels; raises UnsupportedFormat for what is not sound, as the uplink would."""
    if getattr(pcm, "ndim", None) != 2 or pcm.dtype != np.float32 or len(pcm) > most:
        raise UnsupportedFormat(
            f"{type(source).__name__}.read({most}) did not return float32 [frame, channel] of at most {most} frames"
        )
    if pcm.shape[1] == 1:
        return pcm[:, 0]
    mixed: Mono = pcm.mean(axis=1, dtype=np.float32)
    return mixed
