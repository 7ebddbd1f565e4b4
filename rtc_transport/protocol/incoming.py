"""The incoming half of a conversation: what each server event changes, before the application is told of it.

State follows the JSON itself, tolerantly: an event that does not fit its model must not leave a response running for
ever or a connect waiting.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar, Literal, NamedTuple

from rtc_transport.errors import ConnectError, ResponseFailed
from rtc_transport.events.responses import Response
from rtc_transport.events.session_objects import Session
from rtc_transport.events.transport import ErrorReport, SessionUpdateMismatch

from .commands import TAG, Commands
from .effects import Effect, Emit, Failed, Playback, Ready, Resolve
from .expiry import Expiry
from .fields import index, lenient, part, text

Phase = Literal["closed", "opening", "ready", "failed"]

_NOT_ACTIVE = "response_cancel_not_active"


class Inbound(NamedTuple):
    """A server event as it came, when it came, and how far the voice had been played then."""

    event: Mapping[str, Any]
    now: float
    playback: Playback


class Incoming(Commands):
    """What an application can say, and what it hears; `Conversation` adds the life of the connection."""

    _phase: Phase = "closed"
    _opening_id = ""
    _opening_deadline: float | None = None
    _expiry: Expiry

    def _follow(self, inbound: Inbound) -> Iterable[Effect]:
        """Changes the state as the event says."""
        follower = self._FOLLOWERS.get(text(inbound.event, "type"))
        return follower(self, inbound) if follower is not None else ()

    def _fail(self, error: ConnectError) -> list[Effect]:
        self._phase, self._opening_deadline = "failed", None
        return [Failed(error)]

    def _session_created(self, inbound: Inbound) -> Iterable[Effect]:
        self._configuration.described(inbound.event)
        self._expiry.described(part(inbound.event, "session"))
        return ()

    def _session_updated(self, inbound: Inbound) -> Iterable[Effect]:
        answers_opening = self._phase == "opening" and self._configuration.awaits(self._opening_id)
        mismatches = self._configuration.updated(inbound.event)
        self._expiry.described(part(inbound.event, "session"))
        if answers_opening:
            self._phase, self._opening_deadline = "ready", None
            self._outbox.release()
            yield Ready(self._configuration.session or Session())
        if mismatches:
            yield Emit("session_update_mismatch", SessionUpdateMismatch(fields=mismatches))

    def _error(self, inbound: Inbound) -> Iterable[Effect]:
        error = part(inbound.event, "error")
        event_id, code, message = text(error, "event_id"), text(error, "code"), text(error, "message")
        report = ErrorReport(
            message=message or "the service reported an error without a message",
            source="server",
            code=code or None,
            event_id=event_id or None,
            event=dict(inbound.event),
        )
        opening = self._phase == "opening" and self._configuration.awaits(self._opening_id)
        if opening and event_id in (self._opening_id, ""):  # without an id: only our update is under way
            yield from self._fail(ConnectError("session", report.message, code=report.code))
        self._configuration.refused(event_id)
        refusal = self._sequencer.refused(event_id or None, code or None, message, inbound.now)
        if refusal is not None:
            failure = ResponseFailed(report.message, code=report.code)
            yield from (Resolve(waiter, error=failure) for waiter in refusal.waiters)
            yield from self._release_request()
        crossed = code == _NOT_ACTIVE and event_id in self._own_cancels  # the response had just ended
        if not crossed and (refusal is None or refusal.is_fault):
            yield Emit("error", report)

    def _response_created(self, inbound: Inbound) -> Iterable[Effect]:
        response_id, tag = _response(inbound.event)
        unwanted = self._sequencer.created(response_id, tag, inbound.now)
        if unwanted is not None:
            self._put_cancels([self._cancel_event(response_id)])
            if unwanted.interrupted:
                self._put([self._clear_event()])
                self._interruption.silence(response_id, inbound.now)
        return ()

    def _response_done(self, inbound: Inbound) -> Iterable[Effect]:
        response_id, tag = _response(inbound.event)
        response = part(inbound.event, "response")
        waiters = self._sequencer.done(response_id, tag)
        if waiters:
            typed = lenient(Response, response)
            yield from (Resolve(waiter, response=typed) for waiter in waiters)
        if text(part(response, "status_details"), "reason") == "turn_detected":
            yield from self._interruption.turn_detected(response_id, inbound.now, inbound.playback)
        yield from self._release_request()

    def _content_part(self, inbound: Inbound) -> Iterable[Effect]:
        is_audio = text(part(inbound.event, "part"), "type") in ("audio", "output_audio")
        return self._audio_part(inbound) if is_audio else ()

    def _audio_part(self, inbound: Inbound) -> Iterable[Effect]:
        event = inbound.event
        response_id, item_id = text(event, "response_id"), text(event, "item_id")
        self._interruption.audio_part(response_id, item_id, index(event, "content_index"))
        return ()

    def _voice_started(self, inbound: Inbound) -> Iterable[Effect]:
        return self._interruption.started(text(inbound.event, "response_id"), inbound.now)

    def _voice_stopped(self, inbound: Inbound) -> Iterable[Effect]:
        self._interruption.stopped(text(inbound.event, "response_id"))
        return ()

    def _voice_cleared(self, inbound: Inbound) -> Iterable[Effect]:
        return self._interruption.cleared(text(inbound.event, "response_id"), inbound.now, inbound.playback)

    def _user_turn(self, inbound: Inbound) -> Iterable[Effect]:
        if self._configuration.answers_user:
            self._sequencer.user_turn(inbound.now)
        return ()

    _FOLLOWERS: ClassVar[dict[str, Callable[["Incoming", Inbound], Iterable[Effect]]]] = {
        "error": _error,
        "session.created": _session_created,
        "session.updated": _session_updated,
        "input_audio_buffer.committed": _user_turn,
        "input_audio_buffer.timeout_triggered": _user_turn,
        "response.created": _response_created,
        "response.done": _response_done,
        "response.content_part.added": _content_part,
        "response.output_audio_transcript.delta": _audio_part,
        "output_audio_buffer.started": _voice_started,
        "output_audio_buffer.stopped": _voice_stopped,
        "output_audio_buffer.cleared": _voice_cleared,
    }


def _response(event: Mapping[str, Any]) -> tuple[str, str | None]:
    """The id and our tag of the response in an event."""
    response = part(event, "response")
    return text(response, "id"), text(part(response, "metadata"), TAG) or None
