"""Drives a server session in virtual time: client events and sound in, checked server events out."""

import itertools
import json
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rtc_transport.server.config import initial_session
from rtc_transport.server.replies import Parrot, Reply, tone_pcm
from rtc_transport.server.session import Session, SessionOptions

from .openai_events import check_server_event

FRAME = 480
Mono = NDArray[np.float32]
Event = dict[str, Any]


class Driver:
    """A session, its clock and everything it has said; time only moves in `run`."""

    def __init__(
        self, reply: Reply | None = None, session: dict[str, Any] | None = None, **options: Any
    ) -> None:
        self.now = 100.0
        self.log: list[Event] = []
        self.times: list[float] = []
        self.voice: list[Mono] = []
        counter = itertools.count(1)
        self.session = Session(
            initial_session(session),
            reply or Parrot(),
            new_id=lambda prefix: f"{prefix}_{next(counter)}",
            now=self.now,
            model_fixed=session is not None and "model" in session,
            options=SessionOptions(**options),
        )
        self.session.open()
        self._collect()

    def send(self, kind: str, **fields: Any) -> list[Event]:
        """Sends a client event; what the server says at once."""
        return self.send_raw(json.dumps({"type": kind, **fields}))

    def send_raw(self, message: str | bytes) -> list[Event]:
        """Sends a message as it is."""
        self.session.receive(message, self.now)
        return self._collect()

    def run(self, seconds: float, sound: Mono | None = None, *, track: bool = True) -> list[Event]:
        """Lets time pass while the user says `sound`, then nothing; with `track` off no packets come at all."""
        frames = round(seconds / 0.02)
        pcm = np.zeros(frames * FRAME, np.float32)
        if sound is not None:
            pcm[: len(sound)] = sound[: len(pcm)]
        events: list[Event] = []
        for index in range(frames):
            self.now += 0.02
            if track:
                self.session.hear(pcm[index * FRAME : (index + 1) * FRAME], self.now)
            self.voice.append(self.session.speak(FRAME))
            self.session.tick(self.now)
            events += self._collect()
        return events

    def utter(self, seconds: float = 1.0, pause_seconds: float = 0.7) -> list[Event]:
        """The user says something for so long, then is silent."""
        return self.run(seconds + pause_seconds, tone_pcm(seconds))

    def message(self, text: str, **fields: Any) -> list[Event]:
        """The user writes something."""
        content = [{"type": "input_text", "text": text}]
        return self.send(
            "conversation.item.create", item={"type": "message", "role": "user", "content": content, **fields}
        )

    def time_of(self, kind: str) -> float:
        """When the last event of that type came."""
        return next(
            t
            for t, event in zip(reversed(self.times), reversed(self.log), strict=True)
            if event["type"] == kind
        )

    def heard_voice(self) -> Mono:
        """Everything the server's track has sent."""
        return np.concatenate(self.voice)

    def _collect(self) -> list[Event]:
        events = self.session.take_events()
        for event in events:
            check_server_event(event)
            json.dumps(event)
        self.log += events
        self.times += [self.now] * len(events)
        return events


def kinds(events: list[Event]) -> list[str]:
    """The types of the events, in order."""
    return [event["type"] for event in events]


def only(events: list[Event], kind: str) -> Event:
    """The one event of that type."""
    found = [event for event in events if event["type"] == kind]
    assert len(found) == 1, f"{len(found)} × {kind} in {kinds(events)}"
    return found[0]


def error_of(events: list[Event]) -> dict[str, Any]:
    """The error object of the one error among the events."""
    error: dict[str, Any] = only(events, "error")["error"]
    return error
