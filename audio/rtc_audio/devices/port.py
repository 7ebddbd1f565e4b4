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
    """A `StreamPort` that counts; `on_block` is the direction's own, and never raises.

    The counters are written by the driver's thread only and read by the event loop. What can be counted there from
    what a block leaves behind is: once in 10 ms, with cold caches, every line is dear on the driver's thread.
    """

    def __init__(self, format: StreamFormat, on_finished: Callable[[], None]) -> None:
        self.format = format
        self.done = 0
        """Blocks that were recorded or played."""
        self.faults = 0
        """Blocks that were not, for an exception."""
        self.fault: Exception | None = None
        """The latest of them."""
        self.flagged = 0
        """Blocks before which the driver had lost sound, the first 100 ms left out."""
        self.finished = False
        self._starting = round(START_SECONDS / format.block_seconds)
        self._tell = on_finished

    @property
    def blocks(self) -> int:
        """How often the driver has called."""
        return self.done + self.faults

    @property
    def zero_blocks(self) -> int:
        """Blocks of nothing but digital zeros that a microphone has given in a row, until now."""
        return 0

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
        raise NotImplementedError

    def on_finished(self) -> None:
        """See `StreamPort.on_finished`."""
        self.finished = True
        self._tell()

    def _flag(self) -> None:
        if self.settled:
            self.flagged += 1

    def _fail(self, error: Exception) -> None:
        self.fault = error
        self.faults += 1
