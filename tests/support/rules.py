"""What the tests of the conversation's rules share: scripted servers, a voice to speak with, what was told and sent."""

import asyncio
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import numpy as np

from rtc_transport import PushSource, RealtimeServer, WebRTCTransport
from rtc_transport.events.transport import TRANSPORT_EVENTS
from rtc_transport.server import Call, Script

LONG = "Once upon a time there was a king who had a daughter " * 4
"""About 15 s of speech: there is time to interrupt it."""


def scripted(
    *turns: Mapping[str, Any], mcp: Mapping[str, Any] | None = None, **options: Any
) -> RealtimeServer:
    """A server that answers with these turns, then with tones."""
    return RealtimeServer(reply=Script.parse({"turns": list(turns), "mcp_servers": mcp or {}}), **options)


def voice() -> PushSource:
    """A user who says what `speak` gives them."""
    return PushSource(24000)


def speak(source: PushSource, seconds: float = 0.6) -> None:
    """The user says something, a tone."""
    time = np.arange(round(seconds * source.rate_hz)) / source.rate_hz
    source.push((0.3 * np.sin(2 * np.pi * 440 * time)).astype(np.float32))


class Told:
    """What a transport tells from now on: `(name, payload)` in order."""

    def __init__(self, transport: WebRTCTransport, names: Iterable[str] = TRANSPORT_EVENTS) -> None:
        self.events: list[tuple[str, Any]] = []
        for name in names:
            transport.on(name, self._listener(name))

    def _listener(self, name: str) -> Callable[[Any], None]:
        return lambda payload: self.events.append((name, payload))

    def names(self) -> list[str]:
        """The names in order, the same one after the other once."""
        found: list[str] = []
        for name, _ in self.events:
            if not found or found[-1] != name:
                found.append(name)
        return found

    def of(self, name: str) -> list[Any]:
        """The payloads of one name."""
        return [payload for told, payload in self.events if told == name]


def wire(call: Call, *types: str) -> list[tuple[str, Mapping[str, Any]]]:
    """(sender, event) of a call's log, of these types."""
    return [(e.sender, e.event) for e in call.events if e.event["type"] in types]


async def sent(transport: WebRTCTransport, call: Call, *types: str) -> list[dict[str, Any]]:
    """The client's events of these types, all of which have arrived."""
    await transport.drain()
    return [dict(event) for sender, event in wire(call, *types) if sender == "client"]


def check_law(call: Call) -> None:
    """Never two `response.create` without a `response.done`, or a refusal, between."""
    open_request = False
    for sender, _ in wire(call, "response.create", "response.done", "error"):
        if sender == "client":
            assert not open_request, "two response.create in a row"
        open_request = sender == "client"


@contextmanager
def deaf_to(call: Call, *types: str, times: int = 1) -> Iterator[None]:
    """The server overlooks the next `times` events of these types, as if it had lost them."""
    session = call._session
    assert session is not None
    stock, left = session.receive, times

    def receive(message: str | bytes, now: float) -> None:
        nonlocal left
        if left and json.loads(message)["type"] in types:
            left -= 1
        else:
            stock(message, now)

    with patch.object(session, "receive", receive):
        yield


def by_another_client(call: Call, kind: str, **fields: Any) -> None:
    """Another connection of the same session sends an event, which this client learns from its effects only."""
    assert call._session is not None
    event = json.dumps({"type": kind, **fields})
    call._session.receive(event, asyncio.get_running_loop().time())
