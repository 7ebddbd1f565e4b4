"""Work at regular intervals of the event loop, and how late the loop is with it."""

import asyncio
import math
from collections import deque
from collections.abc import Callable

LAG_INTERVAL_SECONDS = 0.1
LAG_WINDOW = 50  # intervals: five seconds
LEAST_STATS_SECONDS = 0.05


class Periodic:
    """Calls `work(late_seconds)` every `seconds` between `start` and `stop`, from one timer; both are idempotent.

    After a stall it goes on from then, without catching up.
    """

    def __init__(self, seconds: float, work: Callable[[float], None]) -> None:
        self._seconds = seconds
        self._work = work
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """The first call comes after one interval."""
        if self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_at(loop.time() + self._seconds, self._on_time)

    def stop(self) -> None:
        """No further call."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _on_time(self) -> None:
        assert self._timer is not None
        loop = asyncio.get_running_loop()
        late = max(0.0, loop.time() - self._timer.when())
        self._timer = loop.call_at(max(self._timer.when() + self._seconds, loop.time()), self._on_time)
        self._work(late)


class Pulse:
    """The regular work of a call: watches how late the event loop is and, if asked to, lets statistics be told.

    `stats_interval_seconds` None: never. Raises ValueError for less than 50 ms.
    """

    def __init__(self, stats_interval_seconds: float | None, tell_stats: Callable[[], None]) -> None:
        self._lags: deque[float] = deque(maxlen=LAG_WINDOW)
        self._works = [Periodic(LAG_INTERVAL_SECONDS, self._lags.append)]
        if stats_interval_seconds is not None:
            if not LEAST_STATS_SECONDS <= stats_interval_seconds < math.inf:
                raise ValueError(
                    f"stats_interval_seconds={stats_interval_seconds:g}: need at least {LEAST_STATS_SECONDS:g}"
                )
            self._works.append(Periodic(stats_interval_seconds, lambda late: tell_stats()))

    @property
    def lag_seconds(self) -> float:
        """How late the loop was at the worst of the looks in the last five seconds; 0 before the first."""
        return max(self._lags, default=0.0)

    def start(self) -> None:
        """A call begins."""
        self._lags.clear()
        for work in self._works:
            work.start()

    def stop(self) -> None:
        """The call has ended; idempotent."""
        for work in self._works:
            work.stop()
