"""An event loop whose hours take no time."""

import asyncio
import selectors


class _JumpingSelector(selectors.DefaultSelector):
    """Waits for nothing: time jumps to the next timer."""

    def __init__(self, longest_seconds: float) -> None:
        super().__init__()
        self.now, self._longest_seconds = 0.0, longest_seconds

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if ready or timeout == 0:
            return ready
        assert timeout is not None, "deadlock: nothing will ever happen"
        self.now += timeout
        assert self.now < self._longest_seconds, "the scenario does not end"  # a device ticks for ever
        return []


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """For one thread only."""

    def __init__(self, longest_seconds: float = 600.0) -> None:
        self._jumping = _JumpingSelector(longest_seconds)
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.now

    def stall(self, seconds: float) -> None:
        """What runs now takes so long."""
        self._jumping.now += seconds
