"""A conversation with a realtime model, without I/O: `(state, input, now) → (state, effects, next deadline)`.

Inputs are the application's commands (`commands`), messages of the service, ticks, and the position of the playout.
The shell calls, carries out the effects, then sends what `next_message` gives as long as its channel has room, and
calls `tick` when `deadline` has come. All times are seconds on one monotonic clock.

Life of a connection: commands may be queued before it; `open` when the channel is open; `Ready` (or `Failed`) comes
with the answer to our first `session.update`; `closed` when it has ended, however it did.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple

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
from rtc_transport.events.responses import Response
from rtc_transport.events.session_objects import Session
from rtc_transport.events.transport import ErrorReport, Mismatch, SessionUpdateMismatch
from rtc_transport.session import SessionConfig

from .commands import TAG, Commands, logger
from .configuration import Configuration
from .dispatch import Dispatcher
from .effects import Effect, Emit, Failed, Playback, Ready, Resolve
from .fields import index, lenient, part, text
from .history import History, HistoryLimits
from .ids import IdMaker, random_id
from .interruption import Interruption
from .outbox import Message, encode
from .recorder import Recorder
from .sequencer import ANSWER_SECONDS, ResponseSequencer

ACKNOWLEDGE_SECONDS = 5.0
_NOT_ACTIVE = "response_cancel_not_active"


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
    """Events taken from the outbox."""
    discarded: int = 0
    """Events that were queued when a connection ended."""


class _Inbound(NamedTuple):
    event: Mapping[str, Any]
    now: float
    playback: Playback


class Conversation(Commands):
    """The state of one conversation; one at a time, over any number of connections."""

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
        self._history_limits = history
        self._acknowledge_seconds = acknowledge_seconds
        self._phase: Literal["waiting", "opening", "ready", "failed"] = "waiting"
        self._opening_id = ""
        self._opening_sent = False
        self._opening_deadline: float | None = None
        self._start_history()

    @property
    def deadline(self) -> float | None:
        """When `tick` has to be called; None if it need not be."""
        deadlines = (self._opening_deadline, self._sequencer.deadline, self._interruption.deadline)
        return min((deadline for deadline in deadlines if deadline is not None), default=None)

    @property
    def session(self) -> Session | None:
        """The session as the service last described it; None before it did."""
        return self._configuration.session

    @property
    def history(self) -> tuple[Item, ...]:
        """The items of the conversation, in order; after the connection has ended, until the next one opens."""
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
        """The number of the event that was queued last; for `holds`."""
        return self._outbox.last_serial

    def holds(self, serial: int) -> bool:
        """Whether an event that was queued up to `serial` still waits to be sent."""
        return self._outbox.holds(serial)

    def open(self, session: SessionConfig, now: float, *, limit: int | None = None) -> list[Effect]:
        """The channel is open: sends the one `session.update` that has to be acknowledged before all else.

        `limit` is the most bytes of a message, from the peer's SDP; queued events over it are dropped and reported.
        """
        self._start_history()
        self._phase = "opening"
        self._opening_id, self._opening_sent = self._new_id("event"), False
        self._opening_deadline = now + self._acknowledge_seconds
        update = session.to_update()
        event = encode({"type": "session.update", "event_id": self._opening_id, "session": update})
        effects = self._set_limit(limit) if limit is not None else []
        try:
            self._outbox.open_with(event)
        except EventTooLarge as exc:
            return [*self._fail(ConnectError("session", str(exc))), *effects]
        self._configuration.opening(self._opening_id, update)
        return effects

    def next_message(self, now: float) -> Message | None:
        """Takes the next event to send; to be sent at once."""
        message = self._outbox.pop()
        if message is not None:
            self.counters.sent += 1
            self._opening_sent = self._opening_sent or message.event_id == self._opening_id
            self._sequencer.sent(message.event_id, now)
        return message

    def receive(self, message: str | bytes, now: float, playback: Playback) -> list[Effect]:
        """A message of the service has come. Never raises.

        State follows what the message says, tolerantly; then the application is told. `Ready` stands before the
        events, so that handlers of `session.updated` find the connection established.
        """
        self.counters.received += 1
        try:
            event = parse_server_event(message)
        except MalformedMessage as exc:
            self.counters.malformed += 1
            return [Emit("error", ErrorReport(message=str(exc), source="protocol", error=exc))]
        try:
            effects = self._follow(event, now, playback)
            return _deeds_first([*self._dispatcher.emits(event), *effects])
        except Exception as exc:  # noqa: BLE001 - whatever a server sends must not end the receive path
            logger.exception("an event of type %.64r could not be handled", event.type)
            report = ErrorReport(
                message=f"an event could not be handled: {type(exc).__name__}",
                source="protocol",
                error=exc,
                event=event.raw,
            )
            return [Emit("*", event), Emit("error", report)]

    def tick(self, now: float) -> list[Effect]:
        """Time has passed."""
        effects = self._interruption.tick(now)
        if self._opening_deadline is not None and now >= self._opening_deadline:
            reason = f"the service did not acknowledge the session within {self._acknowledge_seconds:g} s"
            effects += self._fail(ConnectTimeout("session", reason))
        lost = self._sequencer.tick(now)
        if lost is not None:
            error = ResponseFailed(f"response.create was not answered within {self._answer_seconds:g} s")
            report = ErrorReport(
                message=str(error), source="transport", event_id=lost.message.event_id, error=error
            )
            effects += [*(Resolve(waiter, error=error) for waiter in lost.waiters), Emit("error", report)]
        return _deeds_first([*effects, *self._release_request()])

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
            message = f"{reason}: {discarded} queued event{'s' * (discarded > 1)} discarded"
            effects.append(Emit("error", ErrorReport(message=message, source="transport")))
        self._phase, self._opening_deadline = "waiting", None
        self._configuration = Configuration()
        self._sequencer = ResponseSequencer(self._answer_seconds)
        self._interruption = Interruption()
        self._warned_of_two_sources = False
        return effects

    def _set_limit(self, limit: int) -> list[Effect]:
        effects: list[Effect] = []
        for message in self._outbox.set_limit(limit):
            request = self._sequencer.unsent(message.event_id)
            waiters = self._sequencer.release(request) if request is not None else []
            self._configuration.refused(message.event_id)
            effects += self._too_large(message, EventTooLarge(message.size, limit), waiters)
        return _deeds_first([*effects, *self._release_request()])

    def _start_history(self) -> None:
        self._recorder = Recorder(History(self._history_limits))
        self._dispatcher = Dispatcher(self._recorder.history)

    def _fail(self, error: ConnectError) -> list[Effect]:
        self._phase, self._opening_deadline = "failed", None
        return [Failed(error)]

    def _follow(self, event: EventModel, now: float, playback: Playback) -> list[Effect]:
        if isinstance(event, UnknownEvent):
            if event.reason is None:
                self.counters.unknown += 1
                return []
            self.counters.invalid += 1
        self._recorder.record(event.raw)
        follow = self._FOLLOWERS.get(event.type)
        return list(follow(self, _Inbound(event.raw, now, playback))) if follow is not None else []

    def _session_created(self, inbound: _Inbound) -> Iterator[Effect]:
        self._configuration.described(inbound.event)
        yield from ()

    def _session_updated(self, inbound: _Inbound) -> Iterator[Effect]:
        mismatches: list[Mismatch] = self._configuration.updated(inbound.event)
        if self._phase == "opening":
            self._phase, self._opening_deadline = "ready", None
            self._outbox.release()
            yield Ready(self._configuration.session or Session())
        if mismatches:
            yield Emit("session_update_mismatch", SessionUpdateMismatch(fields=mismatches))

    def _error(self, inbound: _Inbound) -> Iterator[Effect]:
        error = part(inbound.event, "error")
        event_id, code, message = text(error, "event_id"), text(error, "code"), text(error, "message")
        report = ErrorReport(
            message=message or "the service reported an error without a message",
            source="server",
            code=code or None,
            event_id=event_id or None,
            event=dict(inbound.event),
        )
        if self._phase == "opening" and (
            event_id == self._opening_id or (self._opening_sent and not event_id)
        ):
            yield from self._fail(ConnectError("session", report.message, code=report.code))
        self._configuration.refused(event_id)
        refusal = self._sequencer.refused(event_id or None, code or None, message, inbound.now)
        if refusal is not None:
            failure = ResponseFailed(report.message, code=report.code)
            yield from (Resolve(waiter, error=failure) for waiter in refusal.waiters)
            yield from self._release_request()
        # not faults: a request that is sent again, a cancel that crossed the end of its response
        if not (refusal is not None and refusal.again) and not (
            code == _NOT_ACTIVE and event_id in self._own_cancels
        ):
            yield Emit("error", report)

    def _response_created(self, inbound: _Inbound) -> Iterator[Effect]:
        response_id, tag = _response(inbound.event)
        request = self._sequencer.created(response_id, tag, inbound.now)
        if request is not None:
            self._put([self._cancel_event(response_id)])
            if request.interrupted:
                self._put([{"type": "output_audio_buffer.clear", "event_id": self._new_id("event")}])
                self._interruption.silence(response_id, inbound.now)
        yield from ()

    def _response_done(self, inbound: _Inbound) -> Iterator[Effect]:
        response_id, tag = _response(inbound.event)
        response = part(inbound.event, "response")
        waiters = self._sequencer.done(response_id, tag)
        if waiters:
            typed = lenient(Response, response)
            yield from (Resolve(waiter, response=typed) for waiter in waiters)
        if text(part(response, "status_details"), "reason") == "turn_detected":
            yield from self._interruption.turn_detected(response_id, inbound.now, inbound.playback)
        yield from self._release_request()

    def _audio_part(self, inbound: _Inbound) -> Iterator[Effect]:
        event = inbound.event
        if text(part(event, "part"), "type") in ("audio", "output_audio"):
            self._interruption.audio_part(
                text(event, "response_id"), text(event, "item_id"), index(event, "content_index")
            )
        yield from ()

    def _voice_started(self, inbound: _Inbound) -> list[Effect]:
        return self._interruption.started(text(inbound.event, "response_id"), inbound.now)

    def _voice_stopped(self, inbound: _Inbound) -> Iterator[Effect]:
        self._interruption.stopped(text(inbound.event, "response_id"))
        yield from ()

    def _voice_cleared(self, inbound: _Inbound) -> list[Effect]:
        return self._interruption.cleared(text(inbound.event, "response_id"), inbound.now, inbound.playback)

    def _user_turn(self, inbound: _Inbound) -> Iterator[Effect]:
        if self._configuration.answers_user:
            self._sequencer.user_turn(inbound.now)
        yield from ()

    _FOLLOWERS: ClassVar[dict[str, Callable[["Conversation", _Inbound], Iterator[Effect] | list[Effect]]]] = {
        "error": _error,
        "session.created": _session_created,
        "session.updated": _session_updated,
        "input_audio_buffer.committed": _user_turn,
        "input_audio_buffer.timeout_triggered": _user_turn,
        "response.created": _response_created,
        "response.done": _response_done,
        "response.content_part.added": _audio_part,
        "output_audio_buffer.started": _voice_started,
        "output_audio_buffer.stopped": _voice_stopped,
        "output_audio_buffer.cleared": _voice_cleared,
    }


def _response(event: Mapping[str, Any]) -> tuple[str, str | None]:
    """The id and our tag of the response in an event."""
    response = part(event, "response")
    return text(response, "id"), text(part(response, "metadata"), TAG) or None


def _deeds_first(effects: list[Effect]) -> list[Effect]:
    return sorted(effects, key=lambda effect: isinstance(effect, Emit))
