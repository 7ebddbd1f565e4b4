"""The session's configuration as the service has it, and the updates whose answers are still to come."""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rtc_transport.events.session_objects import Session
from rtc_transport.events.transport import Mismatch
from rtc_transport.session import diff, merge

from .fields import lenient, part


@dataclass(slots=True)
class _Update:
    event_id: str
    session: dict[str, Any]
    sent: bool = False


class Configuration:
    """Correlates `session.update` with its answer.

    The service handles events in order and `session.updated` names no event, so it answers the oldest update that
    was sent and not refused by an `error`.
    """

    def __init__(self) -> None:
        self._effective: dict[str, Any] = {}
        self._updates: deque[_Update] = deque()

    @property
    def session(self) -> Session | None:
        """The session as the service last described it; None before it did."""
        return lenient(Session, self._effective) if self._effective else None

    @property
    def expected(self) -> dict[str, Any]:
        """The session in wire form as it will be once the service has done what it was asked."""
        session = self._effective
        for update in self._updates:
            session = merge(session, update.session)
        return session

    def described(self, event: Mapping[str, Any]) -> None:
        """`session.created`."""
        self._effective = part(event, "session") or self._effective

    @property
    def answers_user(self) -> bool:
        """Whether the service may start a response when the user's turn ends; so it is unless it says otherwise."""
        audio_input = part(self._effective, "audio", "input")
        detection = audio_input.get("turn_detection", {})
        return isinstance(detection, dict) and detection.get("create_response") is not False

    def updating(self, event_id: str, session: Mapping[str, Any], *, first: bool = False) -> None:
        """A `session.update` is queued; `first`: before those that were queued earlier."""
        update = _Update(event_id, dict(session))
        if first:
            self._updates.appendleft(update)
        else:
            self._updates.append(update)

    def sent(self, event_id: str | None) -> None:
        """An event has left the machine; if it is an update, its answer is awaited."""
        for update in self._updates:
            update.sent = update.sent or update.event_id == event_id

    def updated(self, event: Mapping[str, Any]) -> list[Mismatch]:
        """`session.updated`: the fields of the update it answers that the service changed or ignored."""
        self.described(event)
        if not self._updates or not self._updates[0].sent:
            return []
        requested = self._updates.popleft().session
        return diff(requested, self._effective) if part(event, "session") else []

    def refused(self, event_id: str | None) -> None:
        """An event will not be done; if it is an update, no `session.updated` answers it."""
        self._updates = deque(update for update in self._updates if update.event_id != event_id)

    def awaits(self, event_id: str) -> bool:
        """Whether this update was sent and has no answer yet."""
        return any(update.sent and update.event_id == event_id for update in self._updates)
