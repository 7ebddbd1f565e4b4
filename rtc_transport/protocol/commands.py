"""The outgoing half of a conversation: what the application does, as events in the outbox and effects.

Every command builds and checks all of its events before it changes anything: it raises `ValueError` for what is no
event, `ConfigError`, `HistoryError`, `EventTooLarge` or `SendQueueFull`, or it is carried out as a whole.
"""

import logging
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rtc_transport.errors import EventTooLarge, ResponseFailed
from rtc_transport.events.base import EventModel, WireModel, to_wire
from rtc_transport.events.items import Item
from rtc_transport.events.transport import ErrorReport, FunctionCall, McpApprovalRequest
from rtc_transport.session import SessionConfig, check_update

from . import messages
from .configuration import Configuration
from .effects import Effect, Emit, Playback, Resolve, deeds_first
from .fields import part, text
from .ids import MAX_ID_LENGTH, IdMaker, random_id
from .interruption import Interruption
from .outbox import Message, Outbox, encode
from .reset import reset_events
from .sequencer import ANSWER_SECONDS, Cancellation, Request, ResponseSequencer

logger = logging.getLogger("rtc_transport.protocol")

TAG = "rtc_transport_request"
"""The key in a response's `metadata` by which the request for it is known."""

_MAX_METADATA = 16
_CANCELS_REMEMBERED = 16


class Commands:
    """What an application can say; `Conversation` adds what it hears."""

    def __init__(self, *, new_id: IdMaker = random_id, answer_seconds: float = ANSWER_SECONDS) -> None:
        self._outbox = Outbox()
        self._new_id = new_id
        self._answer_seconds = answer_seconds
        self._configuration = Configuration()
        self._sequencer = ResponseSequencer(answer_seconds)
        self._interruption = Interruption()
        self._own_cancels: deque[str] = deque(maxlen=_CANCELS_REMEMBERED)
        self._warned_of_two_sources = False

    def send_event(self, event: EventModel | Mapping[str, Any], now: float) -> list[Effect]:
        """Queues a client event as it is.

        `response.create` waits for its turn as an explicit request, and gets the tag of our requests; a large
        `input_audio_buffer.append` is cut.
        """
        wire = _wire(event)
        match wire.get("type"):
            case "response.create":
                return self._submit([], self._request(wire, explicit=True))
            case "session.update":
                wire["event_id"] = wire.get("event_id") or self._new_id("event")
                effects = self._submit([wire])
                self._configuration.updating(wire["event_id"], part(wire, "session"))
                return effects
            case "input_audio_buffer.append":
                return self._submit(messages.split_append(wire))
            case "response.cancel":
                effects = self._submit([wire])
                self._sequencer.cancelled(text(wire, "response_id") or None)
                return effects
            case "output_audio_buffer.clear":
                effects = self._submit([wire])
                self._interruption.clear_sent(now)
                return effects
            case _:
                return self._submit([wire])

    def send_message(
        self,
        message: str | Mapping[str, Any] | Sequence[Mapping[str, Any]],
        other_event_data: Mapping[str, Any] | None = None,
        *,
        trigger_response: bool = True,
    ) -> list[Effect]:
        """Queues a message of text, images or both, and an automatic request for a response."""
        event = messages.message_event(message, other_event_data)
        return self._submit([event], self._automatic(trigger_response))

    def add_image(self, image: str, *, trigger_response: bool = True) -> list[Effect]:
        """Queues an image, an address or a data URL, as a user message."""
        return self._submit([messages.image_event(image)], self._automatic(trigger_response))

    def send_audio(
        self, audio: bytes | bytearray | memoryview, *, commit: bool = False, source_active: bool = False
    ) -> list[Effect]:
        """Queues raw audio in the session's input format, and its commit if asked.

        `source_active` says that an unmuted source fills the same buffer: that is warned of, once a connection.
        """
        if not isinstance(audio, bytes | bytearray | memoryview):
            raise ValueError(f"audio is bytes in the session's input format, not {type(audio).__name__}")
        audio = bytes(audio)
        width = messages.sample_bytes(self._configuration.expected)
        if len(audio) % width:
            raise ValueError(f"{len(audio)} bytes of audio are no whole number of {8 * width}-bit samples")
        events = messages.append_events(audio)
        if commit:
            events.append({"type": "input_audio_buffer.commit"})
        effects = self._submit(events)
        if source_active and not self._warned_of_two_sources:
            self._warned_of_two_sources = True
            logger.warning(
                "send_audio() shares the service's input buffer with an audio source that is not muted"
            )
        return effects

    def send_function_call_output(
        self, tool_call: FunctionCall, output: str, start_response: bool = True
    ) -> list[Effect]:
        """Queues the answer to a function call, and an automatic request for a response."""
        event = messages.function_output_event(tool_call.call_id, output)
        return self._submit([event], self._automatic(start_response))

    def send_mcp_response(
        self, approval_request: McpApprovalRequest, approved: bool, reason: str | None = None
    ) -> list[Effect]:
        """Queues the answer to the question whether an MCP tool may be called."""
        item_id = self._new_id("item")
        return self._submit(
            [messages.mcp_response_event(item_id, approval_request.item_id, approved, reason)]
        )

    def update_session_config(self, config: SessionConfig | Mapping[str, Any]) -> list[Effect]:
        """Queues a `session.update` of the given fields; raises ConfigError for what the service would refuse."""
        wanted = SessionConfig.coerce(config)
        check_update(self._configuration.expected, wanted, audio_sent=self._interruption.has_spoken)
        event_id, session = self._new_id("event"), wanted.to_update()
        effects = self._submit([{"type": "session.update", "event_id": event_id, "session": session}])
        self._configuration.updating(event_id, session)
        return effects

    def reset_history(
        self,
        old: Sequence[Item | Mapping[str, Any]],
        new: Sequence[Item | Mapping[str, Any]],
        *,
        audio_as_text: bool = False,
    ) -> list[Effect]:
        """Queues what turns the conversation from `old` into `new` (see `reset.reset_events`)."""
        return self._submit(reset_events(old, new, self._new_id, audio_as_text=audio_as_text))

    def request_response(self, response: Mapping[str, Any] | None = None) -> tuple[str, list[Effect]]:
        """Asks for a response; the outcome comes as a `Resolve` with the id that is returned.

        Without parameters the request is automatic and may merge with others.
        """
        event: dict[str, Any] = {"type": "response.create"}
        if response is not None:
            event["response"] = _wire(response)
        waiter = self._new_id("request")
        request = self._request(event, explicit=response is not None, waiter=waiter)
        return waiter, self._submit([], request)

    def cancel_response(self, request_id: str) -> list[Effect]:
        """Withdraws a request that has not gone out, else cancels its response, at the latest when that starts."""
        self._outbox.check([encode(self._cancel_event("x" * MAX_ID_LENGTH))])
        error = ResponseFailed("the request was withdrawn before it was sent", code="cancelled")
        cancellation = self._sequencer.cancel(request_id)
        if cancellation.running is not None:
            self._put_cancels([self._cancel_event(cancellation.running)])
        return deeds_first(self._withdraw(cancellation, error))

    def interrupt(self, now: float, playback: Playback, *, truncate: bool = False) -> list[Effect]:
        """Stops the turn: the response, its voice at the service and here, the requests that have not gone out.

        With `truncate` the service is also told how much of the item was heard.
        """
        cancels = [self._cancel_event(response_id) for response_id in self._sequencer.cancellable]
        events: list[dict[str, Any]] = [self._clear_event()]
        cut = self._interruption.truncation(playback) if truncate else None
        if cut is not None:
            events.append({"type": "conversation.item.truncate", **cut._asdict()})
        self._outbox.check(map(encode, [*cancels, *events]))
        self._put_cancels(cancels)
        self._put(events)
        error = ResponseFailed("the request was withdrawn by interrupt()", code="interrupted")
        effects = self._interruption.interrupt(now, playback, self._sequencer.running)
        return deeds_first([*effects, *self._withdraw(self._sequencer.interrupt(), error)])

    def _automatic(self, wanted: bool) -> Request | None:
        return self._request({"type": "response.create"}, explicit=False) if wanted else None

    def _request(self, event: Mapping[str, Any], *, explicit: bool, waiter: str | None = None) -> Request:
        """The request of an event, with an event id and, where there is room, a tag in its metadata."""
        wire = {**event, "event_id": event.get("event_id") or self._new_id("event")}
        response = wire.get("response") or {}
        metadata = (response.get("metadata") or {}) if isinstance(response, Mapping) else None
        tag = None
        if isinstance(metadata, Mapping) and len(metadata) < _MAX_METADATA:
            tag = waiter or self._new_id("request")
            wire["response"] = {**response, "metadata": {**metadata, TAG: tag}}
        waiters = {} if waiter is None else {waiter: None}
        return Request(encode(wire), explicit, tag, waiters, anonymous=waiter is None)

    def _submit(self, events: Sequence[Mapping[str, Any]], request: Request | None = None) -> list[Effect]:
        """Queues events, then a request for a response, or raises and queues nothing."""
        outgoing = [encode(event) for event in events]
        if request is None:
            self._outbox.check(outgoing)
        else:
            self._outbox.check_size(request.message)
            self._outbox.check([*outgoing, request.message] if self._sequencer.free else outgoing)
            self._sequencer.check(request.message)
        for message in outgoing:
            self._outbox.put(message)
        if request is not None:
            self._sequencer.add(request)
        return self._release_request()

    def _put(self, events: Iterable[Mapping[str, Any]]) -> None:
        for event in events:
            self._outbox.put(encode(event))

    def _put_cancels(self, events: Iterable[Mapping[str, Any]]) -> None:
        for event in events:
            self._own_cancels.append(event["event_id"])
            self._put([event])

    def _cancel_event(self, response_id: str) -> dict[str, Any]:
        response = {"response_id": response_id} if response_id else {}
        return {"type": "response.cancel", "event_id": self._new_id("event"), **response}

    def _clear_event(self) -> dict[str, Any]:
        return {"type": "output_audio_buffer.clear", "event_id": self._new_id("event")}

    def _withdraw(self, cancellation: Cancellation, error: ResponseFailed) -> list[Effect]:
        """Takes back what has not gone out and tells those who waited for it."""
        told, unsent = list(cancellation.withdrawn), cancellation.unsent
        if unsent is not None:
            self._outbox.withdraw(unsent.message)
            told += self._sequencer.release(unsent)
        return [*(Resolve(waiter, error=error) for waiter in told), *self._release_request()]

    def _release_request(self) -> list[Effect]:
        """Moves the request whose turn it is to the outbox; one that the peer would not take is reported."""
        effects: list[Effect] = []
        while (request := self._sequencer.take()) is not None:
            try:
                self._outbox.check_size(request.message)
            except EventTooLarge as exc:
                effects += self._too_large(request.message, exc, self._sequencer.release(request))
                continue
            self._outbox.put(request.message)
        return effects

    def _too_large(self, message: Message, error: EventTooLarge, waiters: Iterable[str]) -> list[Effect]:
        report = ErrorReport(
            message=f"{message.type}: {error}", source="transport", event_id=message.event_id, error=error
        )
        return [*(Resolve(waiter, error=error) for waiter in waiters), Emit("error", report)]


def _wire(event: WireModel | Mapping[str, Any]) -> dict[str, Any]:
    if isinstance(event, WireModel):
        try:
            return to_wire(event)
        except TypeError as exc:
            raise ValueError(str(exc)) from exc
    if not isinstance(event, Mapping):
        raise ValueError(f"an event is a client event or a mapping, not {type(event).__name__}")
    return dict(event)
