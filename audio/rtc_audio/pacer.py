"""Pacing on absolute deadlines, so that the time of the sound equals wall time however late a timer fires.

A short stall is caught up, a long one is skipped and counted; neither is made good in a burst: at most two periods
come back to back.
"""

import asyncio
import logging
import math
from collections.abc import Callable

from .ports import Pcm, Pull

_log = logging.getLogger("rtc_audio.pacer")

# Jitter buffers take this as jitter, while a hole loses a syllable. A full garbage collection of a large process stands
# still for about 0.1 s.
CATCH_UP_SECONDS = 0.15
GRID_SECONDS = 0.005  # of the clock: what is paced on it in one process wakes the loop together


class Pacer:
    """Deadlines at `origin + k * period_seconds`; the first call of `next` sets the origin to its `now`.

    With `grid_seconds` the origin is the next multiple of that, so that all who share a clock and a grid wake their
    event loop together.

    Up to `CATCH_UP_SECONDS` of lateness is caught up, two periods in the time of one; what is later skips to now.
    """

    def __init__(self, period_seconds: float, *, grid_seconds: float = 0.0) -> None:
        if not (period_seconds > 0 and math.isfinite(period_seconds)):
            raise ValueError(f"period_seconds={period_seconds}: need a positive number")
        self.period_seconds = period_seconds
        self._grid_seconds = grid_seconds
        self._origin = 0.0
        self._index: int | None = None  # of the period last handed out
        self._handled = (-math.inf, -math.inf)  # when the last two periods were done with

    def next(self, now: float) -> tuple[float, int]:
        """`(wait_seconds, skipped_periods)` of the next period.

        The caller waits, then handles one period whose place in time is `1 + skipped_periods` after the one
        before, and asks again when it is done with it. `now` is any monotonic clock in seconds.
        """
        if self._index is None:
            grid = self._grid_seconds
            self._origin, self._index = math.ceil(now / grid) * grid if grid else now, 0
        else:
            self._index += 1
        late, skipped = now - self._deadline(), 0
        if late > CATCH_UP_SECONDS:
            skipped = int(late / self.period_seconds)
            self._index += skipped
        # A stall may lie within a period: it ends when the next is asked for, not when it was to begin.
        before, _ = self._handled = (self._handled[1], now)
        start = max(now, self._deadline(), before + self.period_seconds)
        return start - now, skipped

    def _deadline(self) -> float:
        # A product instead of a running sum: rounding cannot add up over a long call.
        return self._origin + (self._index or 0) * self.period_seconds


class PacedPull:
    """Pulls blocks of `block_frames` from a `pull` at `rate_hz` in real time and hands them to `deliver`.

    Owns one task. A long stall of the loop is skipped (`skipped_frames`), not pulled in a burst. A `pull` or `deliver`
    that raises loses its block, is counted in `faults` and logged once; the clock runs on.
    """

    def __init__(self, rate_hz: int, block_frames: int, deliver: Callable[[Pcm], None]) -> None:
        self._pacer_period = block_frames / rate_hz
        self._block_frames = block_frames
        self._deliver = deliver
        self._pull: Pull | None = None
        self._task: asyncio.Task[None] | None = None
        self.skipped_frames = 0
        self.faults = 0

    def start(self, pull: Pull) -> None:
        """Begin to pull; while running, only replace `pull`."""
        self._pull = pull
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run(), name="rtc_audio.paced_pull")

    async def aclose(self) -> None:
        """Stop; nothing is pulled or delivered afterwards. Harmless when repeated or cancelled."""
        task, self._task, self._pull = self._task, None, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])

    async def _run(self) -> None:
        clock = asyncio.get_running_loop().time
        pacer = Pacer(self._pacer_period, grid_seconds=GRID_SECONDS)
        while True:
            wait_seconds, skipped = pacer.next(clock())
            await asyncio.sleep(wait_seconds)
            self.skipped_frames += skipped * self._block_frames
            self._step()

    def _step(self) -> None:
        if self._pull is None:
            return
        try:
            self._deliver(self._pull(self._block_frames))
        except Exception:  # noqa: BLE001 - a fault of one block must not end the sink for the rest of the call
            self.faults += 1
            if self.faults == 1:
                _log.exception("a block of sound was lost in the sink; further ones are only counted")
