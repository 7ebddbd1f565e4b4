"""A conversation with a realtime model, without I/O: `(state, input, now) → (state, effects, next deadline)`.

Inputs are the application's commands (`commands`), messages of the service (`incoming`), time, and how far the voice
has been played. The shell calls, carries out the effects, sends what `next_message` gives as long as its channel has
room, and calls `tick` when `deadline` has come. All times are seconds on one monotonic clock.

Life of a connection: commands may be queued before it; `open` when the channel is open; `Ready` (or `Failed`) comes
with the answer to our first `session.update`; `closed` when it has ended, however it did.
"""

from dataclasses import dataclass

from rtc_transport.errors import (
    ConnectError,
    ConnectTimeout,
    EventTooLarge,
    NotConnectedError,
    ResponseFailed,
)
from rtc_transport.events.base import EventModel, MalformedMessage, UnknownEvent
from rtc_transport.events.items import Item
from rtc_transport.events.parse import parse_server_event
from rtc_transport.events.session_objects import Session
from rtc_transport.events.transport import ErrorReport
from rtc_transport.session import SessionConfig

from .commands import logger
from .configuration import Configuration
from .dispatch import Dispatcher
from .effects import Effect, Emit, Playback, Resolve, deeds_first
from .expiry import Expiry
from .history import History, HistoryLimits
from .ids import IdMaker, random_id
from .incoming import Inbound, Incoming
from .interruption import Interruption
from .outbox import Message, encode
from .recorder import Recorder
from .sequencer import ANSWER_SECONDS, ResponseSequencer

ACKNOWLEDGE_SECONDS = 5.0


@dataclass(slots=True)
class Counters:
    """What went through a conversation since it was made, over all its connections."""

    received: int = 0
    """Messages of the service."""
    malformed: int = 0
    """Those that were no events."""
    invalid: int = 0
    """Events of a known type that did not fit it."""
    unknown: int = 0
    """Events of unknown types."""
    sent: int = 0
    """Events that were sent."""
    discarded: int = 0
    """Events that were queued when a connection ended."""


class Conversation(Incoming):
    """One conversation at a time, over any number of connections."""

    def __init__(
        self,
        *,
        new_id: IdMaker = random_id,
        history: HistoryLimits | None = None,
        answer_seconds: float = ANSWER_SECONDS,
        acknowledge_seconds: float = ACKNOWLEDGE_SECONDS,
    ) -> None:
        super().__init__(new_id=new_id, answer_seconds=answer_seconds)
        self.counters = Counters()
        self._expiry = Expiry()
        self._history_limits = history
        self._acknowledge_seconds = acknowledge_seconds
        self._start_history()

    @property
    def deadline(self) -> float | None:
        """When `tick` has to be called; None if it need not be."""
        deadlines = (
            self._opening_deadline,
            self._sequencer.deadline,
            self._interruption.deadline,
            self._expiry.deadline if self._phase == "ready" else None,
        )
        return min((deadline for deadline in deadlines if deadline is not None), default=None)

    @property
    def session(self) -> Session | None:
        """The session as the service last described it; None before it did and after the connection."""
        return self._configuration.session

    @property
    def history(self) -> tuple[Item, ...]:
        """The items of the conversation, in order; after the connection too, until the next one opens."""
        return self._recorder.history.snapshot

    @property
    def response_active(self) -> bool:
        """Whether a response runs; its audio may still play when none does."""
        return bool(self._sequencer.running)

    @property
    def current_response_id(self) -> str | None:
        """The response that runs, the newest if there are several."""
        return (self._sequencer.running or (None,))[-1] or None

    @property
    def waiting_requests(self) -> int:
        """Requests for a response that wait for their turn."""
        return self._sequencer.waiting

    @property
    def queued_events(self) -> int:
        """Events that wait to be sent."""
        return self._outbox.queued_events

    @property
    def queued_bytes(self) -> int:
        """Their bytes of JSON."""
        return self._outbox.queued_bytes

    @property
    def last_serial(self) -> int:
        """The number of the event that was queued last, for `holds`."""
        return self._outbox.last_serial

    def holds(self, serial: int) -> bool:
        """Whether an event that was queued up to `serial` still waits to be sent."""
        return self._outbox.holds(serial)

    def open(
        self, session: SessionConfig, now: float, *, limit: int | None = None, epoch: float | None = None
    ) -> list[Effect]:
        """The channel is open: queues the one `session.update` that has to be acknowledged before all else is sent.

        `limit` is the most bytes of a message, from the peer's SDP; queued events over it are dropped and reported.
        `epoch` is the time since 1970 less `now`; without it nobody is told before the session expires.
        """
        self._start_history()
        self._expiry = Expiry(epoch)
        self._phase, self._opening_id = "opening", self._new_id("event")
        self._opening_deadline = now + self._acknowledge_seconds
        update = session.to_update()
        effects = self._set_limit(limit) if limit is not None else []
        try:
            self._outbox.open_with(
                encode({"type": "session.update", "event_id": self._opening_id, "session": update})
            )
        except EventTooLarge as exc:
            return deeds_first([*effects, *self._fail(ConnectError("session", str(exc)))])
        self._configuration.updating(self._opening_id, update, first=True)
        return effects

    def next_message(self, now: float) -> Message | None:
        """Takes the next event to send, which has to be sent at once; None if nothing may be sent now."""
        message = self._outbox.pop()
        if message is not None:
            self.counters.sent += 1
            self._configuration.sent(message.event_id)
            self._sequencer.sent(message, now)
        return message

    def receive(self, message: str | bytes, now: float, playback: Playback) -> list[Effect]:
        """A message of the service has come. Never raises.

        `Ready` stands before the events, so that handlers of `session.updated` find the connection established.
        """
        self.counters.received += 1
        try:
            event = parse_server_event(message)
        except MalformedMessage as exc:
            self.counters.malformed += 1
            return [Emit("error", ErrorReport(message=str(exc), source="protocol", error=exc))]
        try:
            return self._handle(event, now, playback)
        except Exception as exc:  # noqa: BLE001 - whatever a server sends must not end the receive path
            logger.exception("an event of type %.64r could not be handled", event.type)
            text = f"an event could not be handled: {type(exc).__name__}"
            report = ErrorReport(message=text, source="protocol", error=exc, event=event.raw)
            return [Emit("*", event), Emit("error", report)]

    def tick(self, now: float) -> list[Effect]:
        """Time has passed."""
        effects = self._interruption.tick(now)
        if self._opening_deadline is not None and now >= self._opening_deadline:
            reason = f"the service did not acknowledge the session within {self._acknowledge_seconds:g} s"
            effects += self._fail(ConnectTimeout("session", reason))
        if self._phase == "ready":
            effects += self._expiry.tick(now)
        lost = self._sequencer.tick(now)
        if lost is not None:
            error = ResponseFailed(f"response.create was not answered within {self._answer_seconds:g} s")
            report = ErrorReport(
                message=str(error), source="transport", event_id=lost.message.event_id, error=error
            )
            effects += [*(Resolve(waiter, error=error) for waiter in lost.waiters), Emit("error", report)]
        return deeds_first([*effects, *self._release_request()])

    def closed(self, reason: str = "the connection ended") -> list[Effect]:
        """The connection has ended, or a connect failed: what was queued is discarded, who waits is told."""
        effects = self._interruption.resume()
        effects += [
            Resolve(waiter, error=NotConnectedError(f"{reason} before the response was done"))
            for waiter in self._sequencer.waiters
        ]
        discarded = self._sequencer.waiting + self._outbox.clear()
        self.counters.discarded += discarded
        if discarded:
            text = f"{reason}: {discarded} queued event{'s' * (discarded > 1)} discarded"
            effects.append(Emit("error", ErrorReport(message=text, source="transport")))
        self._phase, self._opening_deadline = "closed", None
        self._configuration = Configuration()
        self._sequencer = ResponseSequencer(self._answer_seconds)
        self._interruption = Interruption()
        self._expiry = Expiry()
        self._warned_of_two_sources = False
        return effects

    def _handle(self, event: EventModel, now: float, playback: Playback) -> list[Effect]:
        effects: list[Effect] = []
        if isinstance(event, UnknownEvent) and event.reason is None:
            self.counters.unknown += 1
        else:
            self.counters.invalid += isinstance(event, UnknownEvent)
            self._recorder.record(event.raw)
            effects += self._follow(Inbound(event.raw, now, playback))
        return deeds_first([*self._dispatcher.emits(event), *effects])

    def _set_limit(self, limit: int) -> list[Effect]:
        effects: list[Effect] = []
        for message in self._outbox.set_limit(limit):
            request = self._sequencer.holder(message)
            waiters = self._sequencer.release(request) if request is not None else []
            self._configuration.refused(message.event_id)
            effects += self._too_large(message, EventTooLarge(message.size, limit), waiters)
        return deeds_first([*effects, *self._release_request()])

    def _start_history(self) -> None:
        self._recorder = Recorder(History(self._history_limits))
        self._dispatcher = Dispatcher(self._recorder.history)
