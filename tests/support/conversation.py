"""A conversation with a hand-written service: what a test says for it, and what came of that."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from rtc_transport.protocol.core import Conversation
from rtc_transport.protocol.effects import Effect, Emit, Playback, Resolve
from rtc_transport.protocol.history import HistoryLimits
from rtc_transport.protocol.ids import counting_ids
from rtc_transport.session import SessionConfig

SILENT = Playback()


class Scripted:
    """A `Conversation` with ids in order, a clock and a playout that the test sets."""

    def __init__(self, *, history: HistoryLimits | None = None) -> None:
        self.core = Conversation(new_id=counting_ids(), history=history)
        self.now = 0.0
        self.playback = SILENT

    def connect(self, requested: Mapping[str, Any] | None = None, **session: Any) -> "Scripted":
        """Opens and acknowledges with `session`; what was sent for that is taken."""
        self.core.open(SessionConfig.coerce(requested), self.now)
        self.sent(1)
        self.hear("session.created", session={"type": "realtime", "model": "gpt-realtime"})
        self.hear("session.updated", session={"type": "realtime", "model": "gpt-realtime", **session})
        return self

    def hear(self, kind: str, **fields: Any) -> list[Effect]:
        """The service says something."""
        message = json.dumps({"type": kind, "event_id": "event_of_service", **fields})
        return self.core.receive(message, self.now, self.playback)

    def sent(self, most: int | None = None) -> list[dict[str, Any]]:
        """What the channel would have sent by now."""
        events: list[dict[str, Any]] = []
        while (most is None or len(events) < most) and (message := self.core.next_message(self.now)):
            events.append(json.loads(message.text))
        return events

    def sent_types(self) -> list[str]:
        """Its types."""
        return [event["type"] for event in self.sent()]

    def interrupt(self, *, truncate: bool = False) -> list[Effect]:
        """The application interrupts."""
        return self.core.interrupt(self.now, self.playback, truncate=truncate)

    def respond(self, response_id: str, *, create: Mapping[str, Any] | None = None) -> list[Effect]:
        """`response.created`; with the `create` it answers, its metadata is echoed."""
        metadata = {} if create is None else {"metadata": create["response"]["metadata"]}
        return self.hear("response.created", response={"id": response_id, **metadata})

    def finish(self, response_id: str, status: str = "completed", reason: str | None = None) -> list[Effect]:
        """`response.done`."""
        details = {} if reason is None else {"status_details": {"type": status, "reason": reason}}
        return self.hear("response.done", response={"id": response_id, "status": status, **details})

    def speak(self, response_id: str, item_id: str) -> list[Effect]:
        """A response starts and its voice is on the air."""
        self.respond(response_id)
        part = {"type": "audio", "transcript": ""}
        self.hear(
            "response.content_part.added",
            response_id=response_id,
            item_id=item_id,
            output_index=0,
            content_index=0,
            part=part,
        )
        return self.hear("output_audio_buffer.started", response_id=response_id)


def deeds(effects: Iterable[Effect]) -> list[Effect]:
    """The effects that are no emissions."""
    return [effect for effect in effects if not isinstance(effect, Emit)]


def emitted(effects: Iterable[Effect], name: str) -> list[Any]:
    """The payloads of the emissions with this name."""
    return [effect.payload for effect in effects if isinstance(effect, Emit) and effect.name == name]


def names(effects: Iterable[Effect]) -> list[str]:
    """The names of the emissions, in order."""
    return [effect.name for effect in effects if isinstance(effect, Emit)]


def outcomes(effects: Iterable[Effect]) -> dict[str, Any]:
    """Of the requests that were resolved: the response, or the error."""
    return {
        effect.request_id: effect.response or effect.error
        for effect in effects
        if isinstance(effect, Resolve)
    }
