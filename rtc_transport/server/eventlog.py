"""The bounded log of a call: what both sides have sent, for tests and onlookers."""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

logger = logging.getLogger("rtc_transport.server")

MAX_EVENTS = 5000
MAX_BYTES = 32 << 20

Sender = Literal["client", "server", "call"]


@dataclass(frozen=True)
class LoggedEvent:
    """An event of a call. Sender ``call`` has ``call.started``, ``call.opened`` and ``call.ended`` (with a reason)."""

    call_id: str
    at_seconds: float
    """Since the offer came."""
    sender: Sender
    event: Mapping[str, Any]


class EventLog:
    """Keeps the newest events, and wakes those who wait for one.

    `on_event` sees every event as it comes; what it raises is logged and goes no further.
    """

    def __init__(self, on_event: Callable[[LoggedEvent], None]) -> None:
        self.events: deque[LoggedEvent] = deque()
        self._on_event = on_event
        self._sizes: deque[int] = deque()
        self._bytes = 0
        self._changed = asyncio.Event()

    def add(self, logged: LoggedEvent, size: int) -> None:
        """Appends an event whose text has `size` characters; beyond the limits the oldest are dropped."""
        self.events.append(logged)
        self._sizes.append(size)
        self._bytes += size
        while len(self.events) > MAX_EVENTS or self._bytes > MAX_BYTES:
            self.events.popleft()
            self._bytes -= self._sizes.popleft()
        self._changed.set()
        try:
            self._on_event(logged)
        except Exception:  # user code: a faulty onlooker does not end a call
            logger.exception("on_event raised")

    def find(self, kind: str, sender: Sender | None, count: int) -> Mapping[str, Any] | None:
        """The `count`-th event of that type (and sender), or None."""
        for logged in self.events:
            if logged.event.get("type") == kind and sender in (None, logged.sender):
                count -= 1
                if count == 0:
                    return logged.event
        return None

    async def changed(self) -> None:
        """Returns once there is another event. May be cancelled freely."""
        self._changed.clear()
        await self._changed.wait()
