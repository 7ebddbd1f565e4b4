"""Sinks for headless use: nowhere, a callback, an async iterator. All pull in real time on absolute deadlines."""

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import Literal

from .format import check_rate
from .pacer import PacedPull
from .ports import Pcm, Pull

_log = logging.getLogger("rtc_audio.sinks")

Delay = Literal["adaptive", "none"]
"""How a sink gets the voice: through the adaptive playout buffer (`pull`), or as packets come (`write`)."""


def check_delay(delay: Delay) -> Delay:
    """The word itself; raises ValueError for an unknown one."""
    if delay not in ("adaptive", "none"):
        raise ValueError(f"delay={delay!r}: need 'adaptive' or 'none'")
    return delay


def block_frames(rate_hz: int, block_ms: float) -> int:
    """Frames of a block; raises ValueError for a block of less than one frame."""
    frames = round(check_rate(rate_hz) * block_ms / 1000)
    if frames < 1:
        raise ValueError(f"block_ms={block_ms:g}: need at least one frame")
    return frames


class NullSink:
    """Drains the voice in real time and forgets it, so that a call without an output behaves like one with."""

    def __init__(self, rate_hz: int = 48000, *, block_ms: float = 20.0) -> None:
        self.rate_hz = check_rate(rate_hz)
        self._paced = PacedPull(rate_hz, block_frames(rate_hz, block_ms), lambda pcm: None)

    async def start(self, pull: Pull, /) -> None:
        """Begin to drain."""
        self._paced.start(pull)

    async def aclose(self) -> None:
        """Stop draining; harmless when repeated."""
        await self._paced.aclose()


class CallbackSink:
    """Gives the voice to a function, as float32 `[n, 1]` at `rate_hz`, on the event loop.

    `delay="adaptive"`: blocks of `block_ms` in real time. `delay="none"`: as the packets come, in their sizes.
    A callback that raises loses its block, is counted in `faults` and logged once; the sink goes on.
    """

    def __init__(
        self,
        callback: Callable[[Pcm], None],
        rate_hz: int = 24000,
        *,
        block_ms: float = 20.0,
        delay: Delay = "adaptive",
    ) -> None:
        self.rate_hz = check_rate(rate_hz)
        self.delay: Delay = check_delay(delay)
        self.faults = 0
        self._callback = callback
        self._open = True
        self._paced = PacedPull(rate_hz, block_frames(rate_hz, block_ms), self._deliver)

    async def start(self, pull: Pull, /) -> None:
        """Begin to pull; with `delay="none"` only get ready for `write`."""
        self._open = True
        if self.delay == "adaptive":
            self._paced.start(pull)

    def write(self, pcm: Pcm, /) -> None:
        """Hand the next frames to the callback, at once."""
        self._deliver(pcm)

    async def aclose(self) -> None:
        """Stop: the callback is not called afterwards. Harmless when repeated."""
        self._open = False
        await self._paced.aclose()

    def _deliver(self, pcm: Pcm) -> None:
        if not self._open:
            return
        try:
            self._callback(pcm)
        except Exception:  # noqa: BLE001 - the user's code; its faults must not reach the media path
            self.faults += 1
            if self.faults == 1:
                _log.exception("the callback of a CallbackSink raised; further faults are only counted")


class StreamSink:
    """The voice as an async iterator of float32 `[n, 1]` blocks: `async for pcm in sink`.

    Bounded: a consumer that falls behind by more than `capacity_seconds` loses the oldest sound, counted in
    `dropped_frames`. One consumer at a time. The iteration ends, after what is left, when the sink is closed.
    """

    def __init__(
        self,
        rate_hz: int = 24000,
        *,
        block_ms: float = 20.0,
        capacity_seconds: float = 5.0,
        delay: Delay = "adaptive",
    ) -> None:
        self.rate_hz = check_rate(rate_hz)
        self.delay: Delay = check_delay(delay)
        self.dropped_frames = 0
        self._capacity = int(capacity_seconds * rate_hz)
        self._blocks: deque[Pcm] = deque()
        self._frames = 0
        self._open = True
        self._news = asyncio.Event()
        self._paced = PacedPull(rate_hz, block_frames(rate_hz, block_ms), self.write)

    async def start(self, pull: Pull, /) -> None:
        """Begin to pull; with `delay="none"` only get ready for `write`."""
        self._open = True
        if self.delay == "adaptive":
            self._paced.start(pull)

    def write(self, pcm: Pcm, /) -> None:
        """Append the next frames; the oldest ones go when there is no room."""
        self._blocks.append(pcm)
        self._frames += len(pcm)
        while self._frames > self._capacity and len(self._blocks) > 1:
            dropped = len(self._blocks.popleft())
            self._frames -= dropped
            self.dropped_frames += dropped
        self._news.set()

    async def aclose(self) -> None:
        """Stop; the iteration ends after what is left. Harmless when repeated."""
        self._open = False
        self._news.set()
        await self._paced.aclose()

    async def __aiter__(self) -> AsyncIterator[Pcm]:
        while True:
            while self._blocks:
                block = self._blocks.popleft()
                self._frames -= len(block)
                yield block
            if not self._open:
                return
            self._news.clear()
            await self._news.wait()
