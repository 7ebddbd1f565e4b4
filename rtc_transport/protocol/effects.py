"""What the protocol core asks of its shell, as values.

The shell carries effects out in the order given. In every list the deeds (`Ready`, `StopPlayout`, ...) stand before
the `Emit`s, so that a handler which calls back into the transport meets the state it was told of, and nothing that
was decided before its call is carried out after it. Events to send are no effects: they wait in the core's outbox,
and the shell takes them with `Conversation.next_message` whenever the channel has room.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

from rtc_transport.errors import ConnectError, TransportError
from rtc_transport.events.responses import Response
from rtc_transport.events.session_objects import Session


@dataclass(frozen=True, slots=True)
class Emit:
    """Hand `payload` to the handlers of the event `name`."""

    name: str
    payload: Any


@dataclass(frozen=True, slots=True)
class StopPlayout:
    """Flush the local playout with a short fade.

    With `drop_until` (seconds, on the clock of `now`) audio that still comes in is dropped until that time or a
    `ResumePlayout`; with None nothing is dropped.
    """

    drop_until: float | None


@dataclass(frozen=True, slots=True)
class ResumePlayout:
    """Play incoming audio again."""


@dataclass(frozen=True, slots=True)
class MarkVoice:
    """The voice of a response begins: its `Playback` counts from here."""

    response_id: str | None
    item_id: str | None


@dataclass(frozen=True, slots=True)
class Ready:
    """The service acknowledged our configuration: the connection is established, queued events may go out."""

    session: Session


@dataclass(frozen=True, slots=True)
class Failed:
    """The session stage of the connect failed; the connection is to be closed."""

    error: ConnectError


@dataclass(frozen=True, slots=True)
class Resolve:
    """The outcome of a requested response: the response as it ended, or why there is none."""

    request_id: str
    response: Response | None = None
    error: TransportError | None = None


Effect = Emit | StopPlayout | ResumePlayout | MarkVoice | Ready | Failed | Resolve


class Playback(NamedTuple):
    """What the sink knows about the voice of the current response, counted from its `MarkVoice`."""

    played_ms: int = 0
    """Milliseconds that were really played."""
    received_ms: int = 0
    """Milliseconds that came in, the upper limit of a truncation."""
    playing: bool = False
    """Whether samples of it are still to be played."""


def deeds_first(effects: Iterable[Effect]) -> list[Effect]:
    """The effects in the order that this module promises, otherwise as they were."""
    return sorted(effects, key=lambda effect: isinstance(effect, Emit))
