"""What both directions have in common on the driver's thread, and how the event loop is told."""

import asyncio
from collections.abc import Callable
from contextlib import suppress

from .types import StreamFormat

START_SECONDS = 0.1  # drivers flag and starve their first blocks


class Wake:
    """Calls `work` soon on the event loop; asked again before that, from any thread, it is still called once."""

    def __init__(self, loop: asyncio.AbstractEventLoop, work: Callable[[], None]) -> None:
        self._loop = loop
        self._work = work
        self._pending = False

    def __call__(self) -> None:
        if self._pending:
            return
        self._pending = True
        with suppress(RuntimeError):  # the loop is closed: nobody is left who could be told
            self._loop.call_soon_threadsafe(self._run)

    def _run(self) -> None:
        self._pending = False
        self._work()


class Port:
    """A `StreamPort` that counts and never raises; `exchange` is the direction's own work on a block.

    The counters are written by the driver's thread only and read by the event loop.
    """

    def __init__(self, format: StreamFormat, on_finished: Callable[[], None]) -> None:
        self.format = format
        self.blocks = 0
        self.finished = False
        self.flagged = 0
        """Blocks before which the driver had lost sound, the first 100 ms left out."""
        self.zero_blocks = 0
        """Blocks of nothing but digital zeros in a row, until now."""
        self.faults = 0
        self.fault: Exception | None = None
        """The latest of the faults."""
        self._starting = round(START_SECONDS / format.block_seconds)
        self._tell = on_finished

    @property
    def settled(self) -> bool:
        """Whether the first 100 ms are over."""
        return self.blocks > self._starting

    @property
    def lost_seconds(self) -> float:
        """Sound that was lost here since the beginning."""
        return self.flagged * self.format.block_seconds

    def on_block(self, block: memoryview, now: float, at_seconds: float, flagged: bool, /) -> None:
        """See `StreamPort.on_block`."""
        self.blocks += 1
        if flagged and self.settled:
            self.flagged += 1
        try:
            self.exchange(block, now, at_seconds)
        except Exception as error:  # noqa: BLE001 - an exception would end the stream and reach the terminal
            self.faults += 1
            self.fault = error

    def on_finished(self) -> None:
        """See `StreamPort.on_finished`."""
        self.finished = True
        self._tell()

    def exchange(self, block: memoryview, now: float, at_seconds: float) -> None:
        """Take or fill a block, on the driver's thread: once in 10 ms, with cold caches, numpy is dear there."""
        raise NotImplementedError
