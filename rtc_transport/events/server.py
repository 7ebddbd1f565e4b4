"""The events a server sends: 46 types, named after their `type`.

Here: the session, errors, the audio buffers, rate limits, and the union of all. The conversation's events are in
`server_conversation`, the response's in `server_response`.
"""

from typing import Annotated, Literal, get_args

from pydantic import Field

from . import server_conversation as conversation
from . import server_response as response
from .base import EventModel, Float, Int, Many, WireModel
from .responses import ServiceError
from .session_objects import Session


class ErrorEvent(EventModel):
    """Something went wrong, mostly with a client event; the session goes on."""

    type: Literal["error"] = "error"
    error: ServiceError
    """What went wrong; its `event_id` is the client event's."""


class SessionCreated(EventModel):
    """The first event of a session."""

    type: Literal["session.created"] = "session.created"
    session: Session
    """The configuration it begins with."""


class SessionUpdated(EventModel):
    """The answer to `session.update`."""

    type: Literal["session.updated"] = "session.updated"
    session: Session
    """The whole configuration, as it is now."""


class InputAudioBufferCleared(EventModel):
    """The answer to `input_audio_buffer.clear`."""

    type: Literal["input_audio_buffer.cleared"] = "input_audio_buffer.cleared"


class InputAudioBufferCommitted(EventModel):
    """The input buffer became a user message, by turn detection or `input_audio_buffer.commit`."""

    type: Literal["input_audio_buffer.committed"] = "input_audio_buffer.committed"
    item_id: str
    """The message."""
    previous_item_id: str | None = None
    """The item before it; null is the first place."""


class InputAudioBufferSpeechStarted(EventModel):
    """The user speaks."""

    type: Literal["input_audio_buffer.speech_started"] = "input_audio_buffer.speech_started"
    item_id: str
    """The message this will be."""
    audio_start_ms: Int
    """Where the speech starts in the audio of the session, padding included."""


class InputAudioBufferSpeechStopped(EventModel):
    """The user has stopped speaking."""

    type: Literal["input_audio_buffer.speech_stopped"] = "input_audio_buffer.speech_stopped"
    item_id: str
    """The message this will be."""
    audio_end_ms: Int
    """Where the speech ends in the audio of the session."""


class InputAudioBufferTimeoutTriggered(EventModel):
    """The user was silent for `idle_timeout_ms`."""

    type: Literal["input_audio_buffer.timeout_triggered"] = "input_audio_buffer.timeout_triggered"
    item_id: str
    """The message the silence becomes."""
    audio_start_ms: Int
    """Where the silence starts in the audio of the session."""
    audio_end_ms: Int
    """Where it ends."""


class InputAudioBufferDtmfEventReceived(EventModel):
    """A telephone key was pressed; SIP only, comes without `event_id`."""

    type: Literal["input_audio_buffer.dtmf_event_received"] = "input_audio_buffer.dtmf_event_received"
    event: str
    """The key."""
    received_at: Int
    """When, in seconds since 1970."""


class _OutputAudioBuffer(EventModel):
    """An event about the voice on its way; WebRTC and SIP only."""

    response_id: str | None = None
    """The response whose voice it is."""


class OutputAudioBufferStarted(_OutputAudioBuffer):
    """The voice starts to flow, after `response.content_part.added`."""

    type: Literal["output_audio_buffer.started"] = "output_audio_buffer.started"


class OutputAudioBufferStopped(_OutputAudioBuffer):
    """The whole voice has been sent, after `response.done`."""

    type: Literal["output_audio_buffer.stopped"] = "output_audio_buffer.stopped"


class OutputAudioBufferCleared(_OutputAudioBuffer):
    """The voice was cut off: the user spoke, or the client sent `output_audio_buffer.clear`."""

    type: Literal["output_audio_buffer.cleared"] = "output_audio_buffer.cleared"


class RateLimit(WireModel):
    """One limit and what is left of it."""

    name: str | None = None
    """requests, tokens, or another measure."""
    limit: Int | None = None
    """The most that is allowed."""
    remaining: Int | None = None
    """What is left."""
    reset_seconds: Float | None = None
    """When it is whole again."""


class RateLimitsUpdated(EventModel):
    """What is left of the limits, told at the start of a response."""

    type: Literal["rate_limits.updated"] = "rate_limits.updated"
    rate_limits: Many[RateLimit]
    """The limits."""


ServerEvent = Annotated[
    # the session
    ErrorEvent
    | SessionCreated
    | SessionUpdated
    | RateLimitsUpdated
    # what is heard
    | InputAudioBufferCleared
    | InputAudioBufferCommitted
    | InputAudioBufferSpeechStarted
    | InputAudioBufferSpeechStopped
    | InputAudioBufferTimeoutTriggered
    | InputAudioBufferDtmfEventReceived
    # what is said
    | OutputAudioBufferStarted
    | OutputAudioBufferStopped
    | OutputAudioBufferCleared
    # the conversation
    | conversation.ConversationCreated
    | conversation.ConversationItemCreated
    | conversation.ConversationItemAdded
    | conversation.ConversationItemDone
    | conversation.ConversationItemRetrieved
    | conversation.ConversationItemDeleted
    | conversation.ConversationItemTruncated
    | conversation.ConversationItemInputAudioTranscriptionDelta
    | conversation.ConversationItemInputAudioTranscriptionCompleted
    | conversation.ConversationItemInputAudioTranscriptionFailed
    | conversation.ConversationItemInputAudioTranscriptionSegment
    | conversation.McpListToolsInProgress
    | conversation.McpListToolsCompleted
    | conversation.McpListToolsFailed
    # the response
    | response.ResponseCreated
    | response.ResponseDone
    | response.ResponseOutputItemAdded
    | response.ResponseOutputItemDone
    | response.ResponseContentPartAdded
    | response.ResponseContentPartDone
    | response.ResponseOutputAudioDelta
    | response.ResponseOutputAudioDone
    | response.ResponseOutputAudioTranscriptDelta
    | response.ResponseOutputAudioTranscriptDone
    | response.ResponseOutputTextDelta
    | response.ResponseOutputTextDone
    | response.ResponseFunctionCallArgumentsDelta
    | response.ResponseFunctionCallArgumentsDone
    | response.ResponseMcpCallArgumentsDelta
    | response.ResponseMcpCallArgumentsDone
    | response.ResponseMcpCallInProgress
    | response.ResponseMcpCallCompleted
    | response.ResponseMcpCallFailed,
    Field(discriminator="type"),
]
"""Any server event."""

SERVER_EVENTS: dict[str, type[EventModel]] = {
    event.model_fields["type"].default: event for event in get_args(get_args(ServerEvent)[0])
}
"""The server events by their type."""
