"""When the service will end the session, and the one notice of it."""

import math
from collections.abc import Mapping
from typing import Any

from rtc_transport.events.transport import SessionExpiring

from .effects import Emit

NOTICE_SECONDS = 60.0
"""How long before the end it is told: time to come to a conclusion, or to sum up for another session."""


class Expiry:
    """Of one connection. `epoch` is what the conversation's clock lacks to be seconds since 1970; None: never told."""

    def __init__(self, epoch: float | None = None) -> None:
        self._epoch = epoch
        self._expires_at: float | None = None
        self._told = False

    @property
    def deadline(self) -> float | None:
        """When `tick` has something to tell."""
        if self._told or self._expires_at is None or self._epoch is None:
            return None
        return self._expires_at - self._epoch - NOTICE_SECONDS

    def described(self, session: Mapping[str, Any]) -> None:
        """The service described the session; it need not repeat when it ends, and may move it."""
        found = session.get("expires_at")
        known = isinstance(found, int | float) and not isinstance(found, bool) and math.isfinite(found)
        if known and found != self._expires_at:
            self._expires_at, self._told = found, False

    def tick(self, now: float) -> list[Emit]:
        """Time has passed."""
        deadline = self.deadline
        if deadline is None or now < deadline or self._expires_at is None:
            return []
        self._told = True
        left = max(0.0, deadline + NOTICE_SECONDS - now)
        event = SessionExpiring(expires_at=self._expires_at, seconds_left=left)
        return [Emit(event.type, event)]
