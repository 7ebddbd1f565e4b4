"""The log of a call stays small whatever passes."""

from typing import Any

import pytest

from rtc_transport.server import eventlog
from rtc_transport.server.eventlog import EventLog, LoggedEvent


def logged(number: int) -> LoggedEvent:
    return LoggedEvent("rtc_1", 0.0, "client" if number % 2 else "server", {"type": "any", "number": number})


@pytest.mark.parametrize(("limit", "value", "kept"), [("MAX_EVENTS", 10, 10), ("MAX_BYTES", 1000, 20)])
def test_the_oldest_events_are_dropped(
    monkeypatch: pytest.MonkeyPatch, limit: str, value: int, kept: int
) -> None:
    monkeypatch.setattr(eventlog, limit, value)
    log = EventLog(lambda event: None)
    for number in range(100):
        log.add(logged(number), size=50)
    assert [entry.event["number"] for entry in log.events] == list(range(100 - kept, 100))


@pytest.mark.parametrize(("sender", "count", "number"), [(None, 2, 1), ("client", 2, 3), ("server", 9, None)])
def test_events_are_found_by_type_sender_and_count(sender: Any, count: int, number: int | None) -> None:
    log = EventLog(lambda event: None)
    for each in range(6):
        log.add(logged(each), size=1)
    found = log.find("any", sender, count)
    assert (found or {}).get("number") == number
    assert log.find("other", sender, 1) is None
