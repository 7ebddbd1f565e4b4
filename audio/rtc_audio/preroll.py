"""Push-to-talk: what was captured just before the key was pressed is still to be had."""

import asyncio

import numpy as np

from .fifo import BlockFifo
from .ports import AudioSource, Pcm

MOST_HELD_SECONDS = 2.0  # between `press` and `rewind`; a connection that takes longer loses the oldest


class PreRollSource:
    """Passes a source on and remembers its last `pre_roll_ms`, so that a turn can begin with them.

    `press` keeps all that comes on top of them; `rewind` then lets everything kept be read first, so the sound lags
    by that much until `finish`: it takes nothing more from the source, and when the lag has been read, `drained` is
    set and the source is passed on as it comes. There is no `clear`: a muted uplink goes on reading it, unheard, and
    the memory stays fresh.
    """

    def __init__(self, source: AudioSource, pre_roll_ms: float = 200.0) -> None:
        self.source = source
        self.drained = asyncio.Event()
        """Set while nothing lags."""
        self.drained.set()
        self._keep_seconds = self._pre_roll_seconds = self.check(pre_roll_ms) / 1000
        self._memory = BlockFifo(1)
        self._lag: BlockFifo | None = None
        self._finishing = False

    @staticmethod
    def check(pre_roll_ms: float) -> float:
        """The value itself; raises ValueError for an impossible one."""
        if not 0 <= pre_roll_ms <= 5000:
            raise ValueError(f"pre_roll_ms={pre_roll_ms:g}: need 0 to 5000")
        return pre_roll_ms

    @property
    def rate_hz(self) -> int:
        """That of the source."""
        return self.source.rate_hz

    @property
    def channels(self) -> int:
        """Those of the source."""
        return self.source.channels

    @property
    def ended(self) -> bool:
        """Whether the source has ended and nothing of it lags."""
        return self.source.ended and not (self._lag and self._lag.frames)

    @property
    def live(self) -> bool:
        """Whether the sound of the source happens now."""
        return bool(getattr(self.source, "live", False))

    async def start(self) -> None:
        """Starts the source."""
        await self.source.start()

    async def aclose(self) -> None:
        """Releases the source and forgets what it said."""
        self._memory.clear()
        self._end_lag()
        await self.source.aclose()

    def press(self) -> None:
        """The turn begins now: forget nothing until `rewind`."""
        self._keep_seconds = self._pre_roll_seconds + MOST_HELD_SECONDS

    def release(self) -> None:
        """The turn does not begin after all."""
        self._keep_seconds = self._pre_roll_seconds

    def rewind(self) -> float:
        """Lets what is kept be read first; returns how many seconds that is."""
        self._keep_seconds = self._pre_roll_seconds
        self._finishing = False
        if self._lag is None:
            self._lag, self._memory = self._memory, BlockFifo(self.channels)
            self.drained.clear()
        return self._lag.frames / self.rate_hz

    def finish(self) -> None:
        """The turn ends now: what comes from now on is not part of it."""
        self._finishing = True
        if self._lag is None or not self._lag.frames:
            self._end_lag()

    def read(self, n: int, /) -> Pcm:
        """At most n frames of the source, what lags first."""
        fresh = self.source.read(n)
        if self._lag is not None and self._lag.channels != fresh.shape[1]:
            self._end_lag()  # the source has changed its format: what lags does not fit any more
        if self._lag is None:
            self._remember(fresh)
            return fresh
        if not self._finishing:
            self._lag.put(fresh.copy())
        pcm = self._lag.take(n)
        if self._finishing and not self._lag.frames:
            self._end_lag()
        return pcm

    def _remember(self, fresh: Pcm) -> None:
        if self._memory.channels != fresh.shape[1]:
            self._memory = BlockFifo(fresh.shape[1])
        self._memory.put(np.array(fresh))
        self._memory.take(max(0, self._memory.frames - round(self._keep_seconds * self.rate_hz)))

    def _end_lag(self) -> None:
        self._lag, self._finishing = None, False
        self.drained.set()
