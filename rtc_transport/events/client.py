"""The events a client sends: eleven types, named after their `type`."""

from typing import Annotated, Literal, get_args

from pydantic import Field

from .base import EventModel, Int
from .items import AnyItem
from .responses import ResponseParams
from .session_objects import SessionFields


class SessionUpdate(EventModel):
    """Changes the given fields of the session; answered by `session.updated`."""

    type: Literal["session.update"] = "session.update"
    session: SessionFields
    """The fields to change; an explicit null switches off, an empty array clears."""


class ConversationItemCreate(EventModel):
    """Adds an item to the conversation."""

    type: Literal["conversation.item.create"] = "conversation.item.create"
    item: AnyItem
    """The item."""
    previous_item_id: str | None = None
    """The item it goes behind; `root` is the beginning, not given is the end."""


class ConversationItemDelete(EventModel):
    """Removes an item from the conversation."""

    type: Literal["conversation.item.delete"] = "conversation.item.delete"
    item_id: str
    """The item."""


class ConversationItemRetrieve(EventModel):
    """Asks for an item with all of its content."""

    type: Literal["conversation.item.retrieve"] = "conversation.item.retrieve"
    item_id: str
    """The item."""


class ConversationItemTruncate(EventModel):
    """Cuts the audio of an assistant's message to what was heard."""

    type: Literal["conversation.item.truncate"] = "conversation.item.truncate"
    item_id: str
    """The message."""
    content_index: Int
    """The part; 0."""
    audio_end_ms: Int
    """How much was heard; an error if longer than the audio."""


class InputAudioBufferAppend(EventModel):
    """Appends audio to the input buffer; not acknowledged, at most 15 MiB."""

    type: Literal["input_audio_buffer.append"] = "input_audio_buffer.append"
    audio: str
    """Base64 audio in the session's input format."""


class InputAudioBufferCommit(EventModel):
    """Makes a user message of the input buffer; an error if it is empty."""

    type: Literal["input_audio_buffer.commit"] = "input_audio_buffer.commit"


class InputAudioBufferClear(EventModel):
    """Drops what is in the input buffer."""

    type: Literal["input_audio_buffer.clear"] = "input_audio_buffer.clear"


class OutputAudioBufferClear(EventModel):
    """Stops the voice at the service; WebRTC and SIP only, after `response.cancel`."""

    type: Literal["output_audio_buffer.clear"] = "output_audio_buffer.clear"


class ResponseCreate(EventModel):
    """Asks for a response."""

    type: Literal["response.create"] = "response.create"
    response: ResponseParams | None = None
    """What is asked of it."""


class ResponseCancel(EventModel):
    """Cancels the running response; an error if none runs."""

    type: Literal["response.cancel"] = "response.cancel"
    response_id: str | None = None
    """The response; not given is the one in the conversation."""


ClientEvent = Annotated[
    SessionUpdate
    | ConversationItemCreate
    | ConversationItemDelete
    | ConversationItemRetrieve
    | ConversationItemTruncate
    | InputAudioBufferAppend
    | InputAudioBufferCommit
    | InputAudioBufferClear
    | OutputAudioBufferClear
    | ResponseCreate
    | ResponseCancel,
    Field(discriminator="type"),
]
"""Any client event."""

CLIENT_EVENTS: dict[str, type[EventModel]] = {
    event.model_fields["type"].default: event for event in get_args(get_args(ClientEvent)[0])
}
"""The client events by their type."""
