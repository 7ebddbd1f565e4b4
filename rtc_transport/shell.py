"""What every form of the transport shares: the protocol core carried out, the emitter, handles and waiters.

The core decides and returns effects; this shell performs them. Deeds (flush the playout, resolve a request) are
performed at once, emissions in the order they were decided, also when a handler calls back into the transport: its
own emissions come behind those that are still to be told. Nothing here knows how the messages travel; a subclass
does (`_pump`, `_playback` and the hooks below).
"""

import asyncio
import json
import logging
from abc import abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal, Self, overload

from .emitter import Emitter, EventStream, Handler
from .errors import ConnectError, NotConnectedError
from .events import EventModel
from .events.items import Item
from .events.transport import (
    ClientEventSent,
    Connected,
    ConnectionChange,
    Disconnected,
    ErrorReport,
    FunctionCall,
    McpApprovalRequest,
)
from .handles import EventWaiters, PendingResponse
from .layer import RealtimeTransportLayer, ResponseHandle, Status, UserInput
from .protocol.core import Conversation
from .protocol.effects import (
    Effect,
    Emit,
    Failed,
    MarkVoice,
    Playback,
    Ready,
    Resolve,
    ResumePlayout,
    StopPlayout,
)
from .protocol.history import HistoryLimits
from .session import SessionConfig

logger = logging.getLogger("rtc_transport.shell")

INBOX_LIMIT = 4096
INBOX_TURN = 64
ONLY_BY_NAME = ("*", "audio", "input_audio", "client_event")
"""What `events()` gives only when asked: the sound is made for listeners only, the others tell the same twice."""


class ProtocolShell(RealtimeTransportLayer):
    """The protocol half of a transport; connecting and media are the subclass's."""

    def __init__(self, history: HistoryLimits | None = None) -> None:
        self._emitter = Emitter(self._on_handler_fault, only_by_name=ONLY_BY_NAME)
        self._core = Conversation(history=history)
        self._status: Status = "disconnected"
        self._emissions: deque[Emit] = deque()
        self._emitting = False
        self._handles: dict[str, PendingResponse] = {}
        self._event_waiters = EventWaiters(self._emitter)
        self._timer: asyncio.TimerHandle | None = None
        self._inbox: deque[str | bytes] = deque()
        self._inbox_call: asyncio.Handle | None = None

    # ---- hooks of the subclass

    @abstractmethod
    def _pump(self) -> None:
        """Something may wait to be sent: take it with `_next_message`."""

    @abstractmethod
    def _playback(self) -> Playback:
        """What was played of the current response."""

    @abstractmethod
    def _stop_playout(self, drop_until: float | None) -> None:
        """Flush what is still to be played; drop what comes until then."""

    @abstractmethod
    def _resume_playout(self) -> None:
        """Play again what comes."""

    @abstractmethod
    def _mark_voice(self, mark: MarkVoice) -> None:
        """A response's voice begins."""

    @abstractmethod
    def _session_ready(self) -> None:
        """The session configuration is acknowledged."""

    @abstractmethod
    def _session_failed(self, error: ConnectError) -> None:
        """The session stage of the connect failed."""

    @abstractmethod
    def _inbox_overflow(self) -> None:
        """The peer sends more events than can be handled: the call has to end."""

    # ---- status and events

    @property
    def status(self) -> Status:
        return self._status

    @property
    def session(self) -> Any:
        """The session's configuration as the service last acknowledged it; None before that."""
        return self._core.session

    @property
    def history(self) -> tuple[Item, ...]:
        """The conversation so far: items in order, as an immutable snapshot."""
        return self._core.history

    @overload
    def on(self, event: str) -> Callable[[Handler], Handler]: ...
    @overload
    def on(self, event: str, handler: Handler) -> Self: ...
    def on(self, event: str, handler: Handler | None = None) -> Self | Callable[[Handler], Handler]:
        if handler is None:
            return self._emitter.on(event)
        self._emitter.on(event, handler)
        return self

    @overload
    def once(self, event: str) -> Callable[[Handler], Handler]: ...
    @overload
    def once(self, event: str, handler: Handler) -> Self: ...
    def once(self, event: str, handler: Handler | None = None) -> Self | Callable[[Handler], Handler]:
        if handler is None:
            return self._emitter.once(event)
        self._emitter.once(event, handler)
        return self

    def off(self, event: str, handler: Handler) -> Self:
        self._emitter.off(event, handler)
        return self

    def emit(self, event: str, payload: Any = None) -> bool:
        return self._emitter.emit(event, payload)

    def events(self, *names: str) -> EventStream:
        return self._emitter.events(*names)

    async def wait_for(
        self,
        event: str,
        predicate: Callable[[Any], bool] | None = None,
        *,
        timeout: float | None = None,
    ) -> Any:
        return await self._event_waiters.wait_for(event, predicate, timeout)

    def _set_status(self, status: Status, reason: str | None = None) -> None:
        if status == self._status:
            return
        logger.debug("%s -> %s (%s)", self._status, status, reason or "as asked")
        self._status = status
        self._tell("connection_change", ConnectionChange(status=status, reason=reason))
        if status == "connected":
            self._tell("connected", Connected())
        elif status == "disconnected":
            self._tell("disconnected", Disconnected(reason=reason))
            self._event_waiters.fail(f"the connection ended: {reason or 'it was closed'}")

    def _report(
        self,
        message: str,
        source: Literal["transport", "handler", "source", "sink", "device"],
        error: Exception | None = None,
    ) -> None:
        """Emits an ``error`` event."""
        self._tell("error", ErrorReport(message=message, source=source, error=error))

    def _on_handler_fault(self, event: str, error: Exception) -> None:
        if event == "error":  # a faulty handler of errors would be told of itself for ever
            return
        self._report(f"a handler of {event!r} raised {type(error).__name__}: {error}", "handler", error)

    # ---- sending

    def send_event(self, event: EventModel | Mapping[str, Any]) -> None:
        self._require_connection()
        self._perform(self._core.send_event(event, self._now()))

    def send_message(
        self,
        message: UserInput,
        other_event_data: Mapping[str, Any] | None = None,
        *,
        trigger_response: bool = True,
    ) -> None:
        self._require_connection()
        self._perform(self._core.send_message(message, other_event_data, trigger_response=trigger_response))

    def add_image(self, image: str, *, trigger_response: bool = True) -> None:
        self._require_connection()
        self._perform(self._core.add_image(image, trigger_response=trigger_response))

    def send_audio(self, audio: bytes, *, commit: bool = False) -> None:
        self._require_connection()
        self._perform(self._core.send_audio(audio, commit=commit, source_active=self._source_active()))

    def send_function_call_output(
        self, tool_call: FunctionCall, output: str, start_response: bool = True
    ) -> None:
        self._require_connection()
        self._perform(self._core.send_function_call_output(tool_call, output, start_response))

    def send_mcp_response(
        self, approval_request: McpApprovalRequest, approved: bool, reason: str | None = None
    ) -> None:
        self._require_connection()
        self._perform(self._core.send_mcp_response(approval_request, approved, reason))

    def update_session_config(self, config: SessionConfig | Mapping[str, Any]) -> None:
        self._require_connection()
        self._perform(self._core.update_session_config(config))

    def reset_history(self, old: Sequence[Item], new: Sequence[Item], *, audio_as_text: bool = False) -> None:
        self._require_connection()
        self._perform(self._core.reset_history(old, new, audio_as_text=audio_as_text))

    def request_response(self, response: Mapping[str, Any] | None = None) -> ResponseHandle:
        self._require_connection()
        request_id, effects = self._core.request_response(response)
        handle = PendingResponse(lambda: self._cancel_request(request_id))
        self._handles[request_id] = handle
        self._perform(effects)
        return handle

    def interrupt(self, *, truncate: bool = False) -> None:
        """Stops the current turn: cancels a running response, clears the service's and the local playout.

        `truncate` also tells the service how much of the item was heard; over WebRTC it knows by itself.
        """
        self._require_connection()
        self._perform(self._core.interrupt(self._now(), self._playback(), truncate=truncate))

    def _cancel_request(self, request_id: str) -> None:
        if self._status in ("connecting", "connected"):
            self._perform(self._core.cancel_response(request_id))

    def _source_active(self) -> bool:
        return False

    def _require_connection(self) -> None:
        if self._status not in ("connecting", "connected"):
            raise NotConnectedError(f"the transport is {self._status}: connect() first")

    # ---- the core's inputs

    def _next_message(self) -> str | None:
        """The text of the next event that may leave, for the channel to send now."""
        message = self._core.next_message(self._now())
        self._reschedule()
        if message is None:
            return None
        if self._emitter.has_listeners("client_event"):
            self._tell("client_event", ClientEventSent(event=json.loads(message.text)))
        return message.text

    def _on_message(self, message: str | bytes) -> None:
        """Takes a message from the wire; it is handled outside the caller, which is the network's receive path."""
        if len(self._inbox) >= INBOX_LIMIT:
            self._inbox_overflow()
            return
        self._inbox.append(message)
        if self._inbox_call is None:
            self._inbox_call = asyncio.get_running_loop().call_soon(self._handle_inbox)

    def _handle_inbox(self) -> None:
        self._inbox_call = None
        for _ in range(min(INBOX_TURN, len(self._inbox))):
            message = self._inbox.popleft()
            self._perform(self._core.receive(message, self._now(), self._playback()))
            if not self._inbox:  # a handler may have ended the call
                break
        if self._inbox and self._inbox_call is None:
            self._inbox_call = asyncio.get_running_loop().call_soon(self._handle_inbox)

    def _on_timer(self) -> None:
        self._timer = None
        self._perform(self._core.tick(self._now()))

    def _end_conversation(self, reason: str) -> None:
        """Tells the core that the channel is gone; stops its timer and drops what was not handled."""
        self._inbox.clear()
        if self._inbox_call is not None:
            self._inbox_call.cancel()
            self._inbox_call = None
        self._perform(self._core.closed(reason))
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # ---- performing

    def _perform(self, effects: Iterable[Effect]) -> None:
        for effect in effects:
            match effect:
                case Emit():
                    self._emissions.append(effect)
                case StopPlayout(drop_until):
                    self._stop_playout(drop_until)
                case ResumePlayout():
                    self._resume_playout()
                case MarkVoice():
                    self._mark_voice(effect)
                case Ready():
                    self._session_ready()
                case Failed(error):
                    self._session_failed(error)
                case Resolve(request_id, response, failure):
                    if (handle := self._handles.pop(request_id, None)) is not None:
                        handle.resolve(response, failure)
        self._emit_all()
        self._reschedule()
        self._pump()

    def _tell(self, name: str, payload: Any) -> None:
        self._emissions.append(Emit(name, payload))
        self._emit_all()

    def _emit_all(self) -> None:
        if self._emitting:
            return
        self._emitting = True
        try:
            while self._emissions:
                emission = self._emissions.popleft()
                self._emitter.emit(emission.name, emission.payload)
        finally:
            self._emitting = False

    def _reschedule(self) -> None:
        deadline = self._core.deadline
        if self._timer is not None and self._timer.when() == deadline:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer = (
            None if deadline is None else asyncio.get_running_loop().call_at(deadline, self._on_timer)
        )

    def _now(self) -> float:
        return asyncio.get_running_loop().time()
