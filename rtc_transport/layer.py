"""The interface of a realtime transport, whatever carries it.

It is agents-js' ``RealtimeTransportLayer`` in Python: one object that connects to a realtime voice model, sends what
the application wants to say and emits what the model does. `WebRTCTransport` implements it; a WebSocket form can
stand beside it without a change here.

Synchronous sends never block: while ``connecting`` they queue behind the session configuration, while ``connected``
they go out in order, otherwise they raise `NotConnectedError`. The queue is bounded (`SendQueueFull`).
"""

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Mapping, Sequence
from typing import Any, Literal, Protocol, Self, overload

from .emitter import Handler
from .events import EventModel
from .events.items import Item
from .events.transport import FunctionCall, McpApprovalRequest
from .session import SessionConfig

Status = Literal["connecting", "connected", "disconnecting", "disconnected"]

ApiKey = str | Callable[[], str | Awaitable[str]]
"""A key, or a function or coroutine function that returns one; a function is asked once per connection attempt."""

UserInput = str | Mapping[str, Any] | Sequence[Mapping[str, Any]]
"""What `send_message` takes: text, one message object (``{"role", "content"}``) or a list of content parts."""


class ResponseHandle(Protocol):
    """What `request_response()` returns; may be ignored without a warning.

    ``await handle`` gives the finished response (`events.items.Response`), whatever its status; it raises
    `ResponseFailed` if the service refused the request or never answered, `NotConnectedError` if the connection ended
    first. A request that was merged into another one resolves with the response that covers it.
    """

    @property
    def done(self) -> bool:
        """Whether the outcome is known."""
        ...

    def cancel(self) -> None:
        """Withdraws the request if it has not gone out, else cancels the response if it runs; idempotent."""
        ...

    def __await__(self) -> Generator[Any, None, Any]: ...

    async def result(self, timeout: float | None = None) -> Any:
        """The response as ``await handle`` gives it, or `WaitTimeout` after `timeout` seconds; the request goes on."""
        ...


class RealtimeTransportLayer(ABC):
    """Establishes and keeps the connection to a realtime model and carries the conversation both ways."""

    @property
    @abstractmethod
    def status(self) -> Status:
        """Where in its life the connection is; every change emits ``connection_change``."""

    @property
    @abstractmethod
    def muted(self) -> bool | None:
        """Whether the input track is muted; None where the layer does not handle muting."""

    @property
    @abstractmethod
    def call_id(self) -> str | None:
        """The service's id of the call, known before the control channel opens; None without one."""

    @abstractmethod
    async def connect(
        self,
        *,
        api_key: ApiKey | None = None,
        model: str | None = None,
        url: str | None = None,
        session: SessionConfig | Mapping[str, Any] | None = None,
        timeout_seconds: float = 15.0,
    ) -> None:
        """Establishes the connection and returns when the session configuration is acknowledged.

        A second call while connecting joins the first attempt; when connected it returns at once. Cancelling one of
        several waiters leaves the attempt to the others, cancelling the last ends it.

        Raises `ConnectError` with the stage it failed at (`ConnectTimeout` after `timeout_seconds`), `ConfigError`
        for a configuration that the service would refuse. After a failure nothing is left running.
        """

    @abstractmethod
    async def close(self) -> None:
        """Ends the connection; idempotent, bounded to two seconds, safe from any state, handler or cancelled task."""

    @abstractmethod
    async def hangup(self) -> None:
        """Ends the call at the service too, then closes; errors of the service are reported, not raised."""

    @abstractmethod
    def mute(self, muted: bool) -> None:
        """Mutes or unmutes the input track, in every state; holds across connections."""

    @abstractmethod
    def interrupt(self) -> None:
        """Stops the current turn: at the service, and what is still to be played locally."""

    @abstractmethod
    def send_event(self, event: EventModel | Mapping[str, Any]) -> None:
        """Sends a client event as it is; ``response.create`` takes its place among the other requests."""

    @abstractmethod
    def send_message(
        self,
        message: UserInput,
        other_event_data: Mapping[str, Any] | None = None,
        *,
        trigger_response: bool = True,
    ) -> None:
        """Adds a user message (text, images, mixed) and asks for a response; extra data is merged into the event."""

    @abstractmethod
    def add_image(self, image: str, *, trigger_response: bool = True) -> None:
        """Adds an image (a URL or data URL) as a user message."""

    @abstractmethod
    def send_audio(self, audio: bytes, *, commit: bool = False) -> None:
        """Appends raw audio in the session's input format over the control channel, and commits it if asked.

        The default format is 16-bit PCM, mono, 24 kHz. It shares the service's input buffer with the audio track.
        """

    @abstractmethod
    def send_function_call_output(
        self, tool_call: FunctionCall, output: str, start_response: bool = True
    ) -> None:
        """Answers a function call and asks for a response if `start_response`."""

    @abstractmethod
    def send_mcp_response(
        self, approval_request: McpApprovalRequest, approved: bool, reason: str | None = None
    ) -> None:
        """Answers the service's question whether an MCP tool may be called."""

    @abstractmethod
    def update_session_config(self, config: SessionConfig | Mapping[str, Any]) -> None:
        """Changes the given fields of the session; what is not given stays, an explicit None goes out as null."""

    @abstractmethod
    def reset_history(self, old: Sequence[Item], new: Sequence[Item], *, audio_as_text: bool = False) -> None:
        """Turns the service's conversation from `old` into `new` by deletions and creations in place.

        What the assistant said as audio cannot be created again: `HistoryError` before anything is sent, or, with
        `audio_as_text`, its transcript in its place.
        """

    @abstractmethod
    def request_response(self, response: Mapping[str, Any] | None = None) -> ResponseHandle:
        """Asks for a response; without parameters requests may merge, with parameters they never do."""

    @abstractmethod
    async def drain(self) -> None:
        """Waits until the peer has acknowledged all that was queued before; `NotConnectedError` if that cannot be.

        A request for a response that waits for its turn behind a running one is not queued yet. May be cancelled.
        """

    @overload
    def on(self, event: str) -> Callable[[Handler], Handler]: ...
    @overload
    def on(self, event: str, handler: Handler) -> Self: ...
    @abstractmethod
    def on(self, event: str, handler: Handler | None = None) -> Self | Callable[[Handler], Handler]:
        """Calls `handler` for every `event` (``"*"``: every server event); alone it is a decorator."""

    @overload
    def once(self, event: str) -> Callable[[Handler], Handler]: ...
    @overload
    def once(self, event: str, handler: Handler) -> Self: ...
    @abstractmethod
    def once(self, event: str, handler: Handler | None = None) -> Self | Callable[[Handler], Handler]:
        """Calls `handler` for the next `event` only; alone it is a decorator."""

    @abstractmethod
    def off(self, event: str, handler: Handler) -> Self:
        """Removes a handler that `on` or `once` added."""

    @abstractmethod
    def emit(self, event: str, payload: Any = None) -> bool:
        """Hands `payload` to the handlers of `event`; says whether anybody listened."""

    @abstractmethod
    def events(self, *names: str) -> AsyncIterator[Any]:
        """Iterates over the payloads of the named events until the connection closes.

        Without names: over all but ``"*"``, ``audio``, ``input_audio`` and ``client_event``.
        """

    @abstractmethod
    async def wait_for(
        self,
        event: str,
        predicate: Callable[[Any], bool] | None = None,
        *,
        timeout: float | None = None,
    ) -> Any:
        """The next payload of `event` that fits `predicate`; `WaitTimeout` after `timeout` seconds.

        Raises `NotConnectedError` if the connection ends first.
        """

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()
