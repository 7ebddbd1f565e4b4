"""What the transport tells the application: one frozen payload per event, named as in the Agents SDK for JavaScript.

Every server event is emitted under its own type as well; these are what they mean for a conversation. Times are in
milliseconds, ids are the service's.
"""

from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from pydantic import Field

from .base import Many, TransportEvent
from .devices import DeviceReport
from .items import AnyItem, McpCallItem, McpTool
from .responses import Response, Usage

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Pcm = NDArray[np.float32]
else:
    Pcm = Any  # numpy is not this room's to import


# The connection


class ConnectionChange(TransportEvent):
    """The status changed."""

    type: Literal["connection_change"] = "connection_change"
    status: Literal["connecting", "connected", "disconnecting", "disconnected"]
    """What it is now."""
    reason: str | None = None
    """Why, if nobody here asked for it."""


class Connected(TransportEvent):
    """The connection stands and the session configuration is acknowledged."""

    type: Literal["connected"] = "connected"


class Disconnected(TransportEvent):
    """The connection has ended."""

    type: Literal["disconnected"] = "disconnected"
    reason: str | None = None
    """Why, if nobody here asked for it."""


class ErrorReport(TransportEvent):
    """Something went wrong and the call goes on, or ends with a `connection_change` of its own."""

    type: Literal["error"] = "error"
    message: str
    """What, in one line."""
    source: Literal["server", "transport", "handler", "source", "sink", "device", "protocol"]
    """Where it happened: at the service, in the transport, in the application's handler, source or sink, ..."""
    code: str | None = None
    """The service's error code."""
    event_id: str | None = None
    """The client event that is to blame."""
    error: Exception | None = Field(default=None, exclude=True)
    """The exception behind it."""
    event: dict[str, Any] | None = Field(default=None, repr=False)
    """The server event behind it, as it came."""


class ClientEventSent(TransportEvent):
    """A client event has been given to the control channel."""

    type: Literal["client_event"] = "client_event"
    event: dict[str, Any] = Field(repr=False)
    """The event as it went out."""


class Stats(TransportEvent):
    """The call's statistics, periodically if asked for."""

    type: Literal["stats"] = "stats"
    stats: Any
    """What `transport.stats()` returns."""


class Mismatch(NamedTuple):
    """A requested field that the service has otherwise."""

    path: str
    """The field, dotted, such as `audio.output.voice`."""
    requested: Any
    """What was asked for."""
    got: Any
    """What the service has; None if it has nothing."""


class SessionUpdateMismatch(TransportEvent):
    """The service acknowledged a session configuration but changed or ignored fields of it."""

    type: Literal["session_update_mismatch"] = "session_update_mismatch"
    fields: Many[Mismatch]
    """The fields."""


class SessionExpiring(TransportEvent):
    """The service will end the session in a minute, or sooner if it had less to live; no session can be prolonged."""

    type: Literal["session_expiring"] = "session_expiring"
    expires_at: float
    """When, in seconds since 1970, by the service's clock."""
    seconds_left: float
    """How long that is from now, as far as this machine's clock is right."""


# The user


class InputSpeechStarted(TransportEvent):
    """The service hears the user speak."""

    type: Literal["input_speech_started"] = "input_speech_started"
    item_id: str | None = None
    """The message this will be."""
    audio_start_ms: int
    """Where the speech starts in the audio of the session."""


class InputSpeechStopped(TransportEvent):
    """The service hears that the user has stopped."""

    type: Literal["input_speech_stopped"] = "input_speech_stopped"
    item_id: str | None = None
    """The message this will be."""
    audio_end_ms: int
    """Where the speech ends in the audio of the session."""


class InputTranscriptDelta(TransportEvent):
    """A piece of what the user said."""

    type: Literal["input_transcript_delta"] = "input_transcript_delta"
    delta: str
    """The piece."""
    item_id: str
    """The user's message."""
    content_index: int = 0
    """The part of it."""


class InputTranscriptDone(TransportEvent):
    """All of what the user said."""

    type: Literal["input_transcript_done"] = "input_transcript_done"
    transcript: str
    """The transcript."""
    item_id: str
    """The user's message."""
    content_index: int = 0
    """The part of it."""


class InputAudio(TransportEvent):
    """A piece of what is sent, mute and gain applied; only while somebody listens."""

    type: Literal["input_audio"] = "input_audio"
    pcm: Pcm
    """float32 samples, `[frame, 1]`."""
    rate_hz: int
    """Frames per second."""

    # as for `Audio`
    __eq__ = object.__eq__
    __hash__ = object.__hash__


class SourceEnded(TransportEvent):
    """The audio source has ended; silence follows."""

    type: Literal["source_ended"] = "source_ended"


# The model


class TurnStarted(TransportEvent):
    """A response started."""

    type: Literal["turn_started"] = "turn_started"
    response_id: str | None = None
    """The response."""
    response: Response | None = None
    """The response as it is now."""


class TurnDone(TransportEvent):
    """A response ended; its audio may still be playing."""

    type: Literal["turn_done"] = "turn_done"
    response_id: str | None = None
    """The response."""
    status: str | None = None
    """completed, cancelled, failed or incomplete."""
    reason: str | None = None
    """Why it did not complete: turn_detected, client_cancelled, max_output_tokens, content_filter."""
    output: Many[AnyItem] = ()
    """The items it made."""
    usage: Usage | None = None
    """What it cost."""


class UsageUpdate(TransportEvent):
    """What a response cost."""

    type: Literal["usage_update"] = "usage_update"
    usage: Usage
    """The tokens."""
    response_id: str | None = None
    """The response."""


class Audio(TransportEvent):
    """A piece of the model's voice as it comes; only while somebody listens."""

    type: Literal["audio"] = "audio"
    pcm: Pcm
    """float32 samples, `[frame, 1]`."""
    rate_hz: int
    """Frames per second."""
    item_id: str | None = None
    """The item it belongs to, as far as known."""
    response_id: str | None = None
    """The response it belongs to, as far as known."""

    # an array has no truth value, so fields cannot be compared: a piece of audio equals itself only
    __eq__ = object.__eq__
    __hash__ = object.__hash__


class AudioDone(TransportEvent):
    """The service has made all of the voice of a part; it may still be playing."""

    type: Literal["audio_done"] = "audio_done"
    item_id: str | None = None
    """The item."""
    response_id: str | None = None
    """The response."""


class AudioInterrupted(TransportEvent):
    """The voice was cut off."""

    type: Literal["audio_interrupted"] = "audio_interrupted"
    item_id: str | None = None
    """The item that was heard; None if nothing was playing."""
    response_id: str | None = None
    """Its response."""
    audio_end_ms: int = 0
    """How much of the item was really played."""
    by: Literal["user", "server"]
    """Who did it: `interrupt()`, or the service when it heard the user."""


class AudioTranscriptDelta(TransportEvent):
    """A piece of what the model says."""

    type: Literal["audio_transcript_delta"] = "audio_transcript_delta"
    delta: str
    """The piece."""
    item_id: str
    """The item."""
    response_id: str
    """The response."""


class OutputTextDelta(TransportEvent):
    """A piece of what the model writes."""

    type: Literal["output_text_delta"] = "output_text_delta"
    delta: str
    """The piece."""
    item_id: str
    """The item."""
    response_id: str
    """The response."""


# The conversation


class ItemUpdate(TransportEvent):
    """An item is new or has changed."""

    type: Literal["item_update"] = "item_update"
    item: AnyItem
    """The item as it is now."""
    previous_item_id: str | None = None
    """The item before it; null is the first place; unset (`model_fields_set`) is unknown."""


class ItemDeleted(TransportEvent):
    """An item is gone."""

    type: Literal["item_deleted"] = "item_deleted"
    item_id: str
    """The item."""


class FunctionCall(TransportEvent):
    """The model calls a function; `send_function_call_output` answers."""

    type: Literal["function_call"] = "function_call"
    item_id: str | None = None
    """The call's item."""
    call_id: str
    """The id the answer names."""
    name: str
    """The function."""
    arguments: str
    """The arguments as the model wrote them: meant to be JSON."""
    response_id: str | None = None
    """The response that calls."""
    previous_item_id: str | None = None
    """The item before it, as far as known."""


class McpToolsListed(TransportEvent):
    """The tools of an MCP server are known."""

    type: Literal["mcp_tools_listed"] = "mcp_tools_listed"
    server_label: str
    """The MCP server."""
    tools: Many[McpTool]
    """What it offers."""


class McpApprovalRequest(TransportEvent):
    """The service asks whether it may call a tool of an MCP server; `send_mcp_response` answers."""

    type: Literal["mcp_approval_request"] = "mcp_approval_request"
    item_id: str
    """The request's item, which the answer names."""
    server_label: str
    """The MCP server."""
    name: str
    """The tool."""
    arguments: str
    """The arguments of the call: meant to be JSON."""


class McpToolCallCompleted(TransportEvent):
    """A call of an MCP tool is done; the item has its output or error."""

    type: Literal["mcp_tool_call_completed"] = "mcp_tool_call_completed"
    item: McpCallItem
    """The call."""


TRANSPORT_EVENTS: dict[str, type[TransportEvent]] = {
    event.model_fields["type"].default: event
    for event in [*TransportEvent.__subclasses__(), *DeviceReport.__subclasses__()]
    if event is not DeviceReport
}
"""The transport events by their name."""
