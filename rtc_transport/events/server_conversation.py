"""Server events about the conversation: its items, the user's transcripts, the tools of MCP servers."""

from typing import Any, Literal

from .base import EventModel, Float, Int, Many, WireModel
from .items import AnyItem
from .responses import ServiceError, TranscriptionUsage


class Conversation(WireModel):
    """The conversation of a session."""

    id: str | None = None
    """The conversation's id."""
    object: str | None = None
    """`realtime.conversation`, where given."""


class ConversationCreated(EventModel):
    """The session has a conversation."""

    type: Literal["conversation.created"] = "conversation.created"
    conversation: Conversation
    """The conversation."""


class _ItemPlaced(EventModel):
    """An item and its place."""

    item: AnyItem
    """The item."""
    previous_item_id: str | None = None
    """The item before it; null is the first place, not given is unknown."""


class ConversationItemCreated(_ItemPlaced):
    """An item was created; the older form of `conversation.item.added`."""

    type: Literal["conversation.item.created"] = "conversation.item.created"


class ConversationItemAdded(_ItemPlaced):
    """An item came into the conversation; its content may still grow."""

    type: Literal["conversation.item.added"] = "conversation.item.added"


class ConversationItemDone(_ItemPlaced):
    """An item of the conversation is complete."""

    type: Literal["conversation.item.done"] = "conversation.item.done"


class ConversationItemRetrieved(EventModel):
    """The answer to `conversation.item.retrieve`."""

    type: Literal["conversation.item.retrieved"] = "conversation.item.retrieved"
    item: AnyItem
    """The item with all of its content, audio included."""


class _OfItem(EventModel):
    """An event about one item."""

    item_id: str
    """The item."""


class ConversationItemDeleted(_OfItem):
    """The answer to `conversation.item.delete`."""

    type: Literal["conversation.item.deleted"] = "conversation.item.deleted"


class ConversationItemTruncated(_OfItem):
    """An assistant's message was cut to what was heard; its transcript is gone at the service."""

    type: Literal["conversation.item.truncated"] = "conversation.item.truncated"
    content_index: Int = 0
    """The part that was cut."""
    audio_end_ms: Int
    """How much of its audio is left."""


class LogProb(WireModel):
    """How likely a token of a transcript is."""

    token: str
    """The token."""
    logprob: Float
    """The logarithm of its probability."""
    bytes: Many[Int] | None = None
    """The token in UTF-8."""


class ConversationItemInputAudioTranscriptionDelta(_OfItem):
    """A piece of the transcript of what the user said."""

    type: Literal["conversation.item.input_audio_transcription.delta"] = (
        "conversation.item.input_audio_transcription.delta"
    )
    content_index: Int | None = None
    """The part of the message."""
    delta: str | None = None
    """The piece."""
    logprobs: Many[LogProb] | None = None
    """How likely its tokens are, if asked for."""


class ConversationItemInputAudioTranscriptionCompleted(_OfItem):
    """The whole transcript of what the user said."""

    type: Literal["conversation.item.input_audio_transcription.completed"] = (
        "conversation.item.input_audio_transcription.completed"
    )
    content_index: Int = 0
    """The part of the message."""
    transcript: str
    """The transcript."""
    usage: TranscriptionUsage | None = None
    """What it cost."""
    languages: Any = None
    """The languages that were heard."""
    logprobs: Many[LogProb] | None = None
    """How likely its tokens are, if asked for."""


class ConversationItemInputAudioTranscriptionFailed(_OfItem):
    """What the user said could not be transcribed."""

    type: Literal["conversation.item.input_audio_transcription.failed"] = (
        "conversation.item.input_audio_transcription.failed"
    )
    content_index: Int = 0
    """The part of the message."""
    error: ServiceError
    """Why."""


class ConversationItemInputAudioTranscriptionSegment(_OfItem):
    """What one speaker said, within the user's audio."""

    type: Literal["conversation.item.input_audio_transcription.segment"] = (
        "conversation.item.input_audio_transcription.segment"
    )
    content_index: Int = 0
    """The part of the message."""
    id: str
    """The segment's id."""
    text: str
    """What was said."""
    speaker: str | None = None
    """Who said it."""
    start: Float
    """Where it starts, in seconds."""
    end: Float
    """Where it ends, in seconds."""


class McpListToolsInProgress(_OfItem):
    """The service asks an MCP server for its tools."""

    type: Literal["mcp_list_tools.in_progress"] = "mcp_list_tools.in_progress"


class McpListToolsCompleted(_OfItem):
    """The service knows the tools of an MCP server; the item lists them."""

    type: Literal["mcp_list_tools.completed"] = "mcp_list_tools.completed"


class McpListToolsFailed(_OfItem):
    """An MCP server did not tell its tools."""

    type: Literal["mcp_list_tools.failed"] = "mcp_list_tools.failed"
