"""Server events about a response: its items, their parts, and what grows in them."""

from typing import Literal

from .base import EventModel, Int
from .items import AnyItem, ContentPart
from .responses import Response


class _OfResponse(EventModel):
    """An event that carries the response."""

    response: Response
    """The response as it is now."""


class ResponseCreated(_OfResponse):
    """A response started."""

    type: Literal["response.created"] = "response.created"


class ResponseDone(_OfResponse):
    """A response ended, however it did; its audio may still be playing."""

    type: Literal["response.done"] = "response.done"


class _OutputItem(EventModel):
    """An event that carries an item of a response."""

    response_id: str
    """The response."""
    output_index: Int = 0
    """The place of the item in the response."""
    item: AnyItem
    """The item as it is now."""


class ResponseOutputItemAdded(_OutputItem):
    """A response has a new item."""

    type: Literal["response.output_item.added"] = "response.output_item.added"


class ResponseOutputItemDone(_OutputItem):
    """An item of a response is complete."""

    type: Literal["response.output_item.done"] = "response.output_item.done"


class _OfItem(EventModel):
    """An event about an item of a response."""

    response_id: str
    """The response."""
    item_id: str
    """The item."""
    output_index: Int = 0
    """The place of the item in the response."""


class _OfContent(_OfItem):
    """An event about a part of an item."""

    content_index: Int = 0
    """The place of the part in the item."""


class ResponseContentPartAdded(_OfContent):
    """An item of a response has a new part."""

    type: Literal["response.content_part.added"] = "response.content_part.added"
    part: ContentPart
    """The part as it is now."""


class ResponseContentPartDone(_OfContent):
    """A part of an item is complete."""

    type: Literal["response.content_part.done"] = "response.content_part.done"
    part: ContentPart
    """The part."""


class ResponseOutputAudioDelta(_OfContent):
    """A piece of the voice; over WebRTC the voice comes as RTP instead."""

    type: Literal["response.output_audio.delta"] = "response.output_audio.delta"
    delta: str
    """Base64 audio in the session's output format."""


class ResponseOutputAudioDone(_OfContent):
    """The voice of a part is complete; it may still be playing."""

    type: Literal["response.output_audio.done"] = "response.output_audio.done"


class ResponseOutputAudioTranscriptDelta(_OfContent):
    """A piece of the transcript of the voice."""

    type: Literal["response.output_audio_transcript.delta"] = "response.output_audio_transcript.delta"
    delta: str
    """The piece."""


class ResponseOutputAudioTranscriptDone(_OfContent):
    """The transcript of the voice is complete."""

    type: Literal["response.output_audio_transcript.done"] = "response.output_audio_transcript.done"
    transcript: str
    """The transcript."""


class ResponseOutputTextDelta(_OfContent):
    """A piece of the text of a part."""

    type: Literal["response.output_text.delta"] = "response.output_text.delta"
    delta: str
    """The piece."""


class ResponseOutputTextDone(_OfContent):
    """The text of a part is complete."""

    type: Literal["response.output_text.done"] = "response.output_text.done"
    text: str
    """The text."""


class ResponseFunctionCallArgumentsDelta(_OfItem):
    """A piece of the arguments of a function call."""

    type: Literal["response.function_call_arguments.delta"] = "response.function_call_arguments.delta"
    call_id: str | None = None
    """The call."""
    delta: str
    """The piece."""


class ResponseFunctionCallArgumentsDone(_OfItem):
    """The arguments of a function call are complete."""

    type: Literal["response.function_call_arguments.done"] = "response.function_call_arguments.done"
    call_id: str | None = None
    """The call."""
    name: str | None = None
    """The function's name."""
    arguments: str
    """The arguments as JSON text."""


class ResponseMcpCallArgumentsDelta(_OfItem):
    """A piece of the arguments of an MCP call."""

    type: Literal["response.mcp_call_arguments.delta"] = "response.mcp_call_arguments.delta"
    delta: str
    """The piece."""
    obfuscation: str | None = None
    """Padding that hides the length of the piece."""


class ResponseMcpCallArgumentsDone(_OfItem):
    """The arguments of an MCP call are complete."""

    type: Literal["response.mcp_call_arguments.done"] = "response.mcp_call_arguments.done"
    arguments: str
    """The arguments as JSON text."""


class _McpCall(EventModel):
    """An event about an MCP call."""

    item_id: str
    """The call's item."""
    output_index: Int = 0
    """The place of the item in the response."""


class ResponseMcpCallInProgress(_McpCall):
    """The service calls a tool of an MCP server."""

    type: Literal["response.mcp_call.in_progress"] = "response.mcp_call.in_progress"


class ResponseMcpCallCompleted(_McpCall):
    """An MCP call succeeded; the item has its output."""

    type: Literal["response.mcp_call.completed"] = "response.mcp_call.completed"


class ResponseMcpCallFailed(_McpCall):
    """An MCP call failed; the item says why."""

    type: Literal["response.mcp_call.failed"] = "response.mcp_call.failed"
