"""The session's configuration as the service has it, and the updates whose answers are still to come."""

from collections import deque
from collections.abc import Mapping
from typing import Any

from rtc_transport.events.session_objects import Session
from rtc_transport.events.transport import Mismatch
from rtc_transport.session import diff, merge

from .fields import lenient, part

_Update = tuple[str, dict[str, Any]]


class Configuration:
    """Correlates `session.update` with its answer.

    The service handles events in order and `session.updated` names no event, so it answers the oldest update that
    was not refused by an `error`.
    """

    def __init__(self) -> None:
        self._effective: dict[str, Any] = {}
        self._updates: deque[_Update] = deque()

    @property
    def session(self) -> Session | None:
        """The session as the service last described it; None before it did."""
        return lenient(Session, self._effective) if self._effective else None

    @property
    def effective(self) -> Mapping[str, Any]:
        """The same in wire form, empty before."""
        return self._effective

    @property
    def expected(self) -> dict[str, Any]:
        """The session in wire form as it will be once the service has done what it was asked."""
        session = self._effective
        for _, update in self._updates:
            session = merge(session, update)
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

    def opening(self, event_id: str, session: Mapping[str, Any]) -> None:
        """The first `session.update` is on its way, before those that were queued earlier."""
        self._updates.appendleft((event_id, dict(session)))

    def updating(self, event_id: str, session: Mapping[str, Any]) -> None:
        """A `session.update` is on its way, or queued to be."""
        self._updates.append((event_id, dict(session)))

    def updated(self, event: Mapping[str, Any]) -> list[Mismatch]:
        """`session.updated`: the fields of the update it answers that the service changed or ignored."""
        self._effective = part(event, "session") or self._effective
        if not self._updates:
            return []
        _, requested = self._updates.popleft()
        return diff(requested, self._effective) if part(event, "session") else []

    def refused(self, event_id: str | None) -> None:
        """An `error` named an event; if it was an update, that one will not be answered by a `session.updated`."""
        if event_id is not None:
            self._updates = deque(update for update in self._updates if update[0] != event_id)
