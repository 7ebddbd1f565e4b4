"""What each server event is to the application: the table of transport events.

Every event is emitted under ``"*"`` and, if it is understood, under its own type; then come the events of the table.
State is up to date before any of them. An event of a known type that does not fit its model is delivered under
``"*"`` alone, with its `reason`.
"""

from collections.abc import Callable, Iterator
from typing import Any

from rtc_transport.events import server, server_conversation, server_response, transport
from rtc_transport.events.base import EventModel, TransportEvent, UnknownEvent
from rtc_transport.events.items import (
    FunctionCallItem,
    Item,
    McpApprovalRequestItem,
    McpCallItem,
    McpListToolsItem,
)

from .effects import Emit
from .history import UNPLACED, History, Previous, Unplaced

Payloads = Iterator[TransportEvent]

_CALLS_REMEMBERED = 256


class Dispatcher:
    """Turns server events into transport events, with the items as the history has them."""

    def __init__(self, history: History) -> None:
        self._history = history
        self._called: dict[str, None] = {}

    def emits(self, event: EventModel) -> Iterator[Emit]:
        """The transport events of a server event, in order; an `error` is for the caller to report."""
        yield Emit("*", event)
        if isinstance(event, UnknownEvent):
            # a server must not speak in the name of the transport
            if event.reason is None and event.type not in transport.TRANSPORT_EVENTS and event.type != "*":
                yield Emit(event.type, event)
            return
        if not isinstance(event, server.ErrorEvent):
            yield Emit(event.type, event)
        mapper = _MAPPERS.get(event.type)
        for payload in mapper(self, event) if mapper is not None else ():
            yield Emit(payload.type, payload)

    def item_update(self, item: Item, previous: Previous | Unplaced = UNPLACED) -> Payloads:
        """The item with all its texts, if it is in the history, and its place."""
        known = self._history.get(item.id) if item.id else None
        if item.id and isinstance(previous, Unplaced):
            previous = self._history.previous(item.id)
        if isinstance(previous, Unplaced):
            yield transport.ItemUpdate(item=known or item)
        else:
            yield transport.ItemUpdate(item=known or item, previous_item_id=previous)

    def known_item_update(self, item_id: str) -> Payloads:
        """The same for an item that is in the history; nothing for another."""
        item = self._history.get(item_id)
        return self.item_update(item) if item is not None else iter(())

    def function_call(self, item: FunctionCallItem, response_id: str) -> Payloads:
        """A call that is complete, once."""
        call_id = item.call_id or item.id
        if item.status not in (None, "completed") or call_id is None or call_id in self._called:
            return
        self._called[call_id] = None
        if len(self._called) > _CALLS_REMEMBERED:
            del self._called[next(iter(self._called))]
        previous = self._history.previous(item.id) if item.id else None
        yield transport.FunctionCall(
            item_id=item.id,
            call_id=call_id,
            name=item.name,
            arguments=item.arguments,
            response_id=response_id,
            previous_item_id=None if isinstance(previous, Unplaced) else previous,
        )


def _turn_started(_: Dispatcher, event: server_response.ResponseCreated) -> Payloads:
    yield transport.TurnStarted(response_id=event.response.id, response=event.response)


def _turn_done(_: Dispatcher, event: server_response.ResponseDone) -> Payloads:
    response = event.response
    if response.usage is not None:
        yield transport.UsageUpdate(usage=response.usage, response_id=response.id)
    yield transport.TurnDone(
        response_id=response.id,
        status=response.status,
        reason=response.status_details.reason if response.status_details else None,
        output=response.output or (),
        usage=response.usage,
    )


def _audio_done(_: Dispatcher, event: server_response.ResponseOutputAudioDone) -> Payloads:
    yield transport.AudioDone(item_id=event.item_id, response_id=event.response_id)


def _transcript_delta(_: Dispatcher, event: server_response.ResponseOutputAudioTranscriptDelta) -> Payloads:
    yield transport.AudioTranscriptDelta(
        delta=event.delta, item_id=event.item_id, response_id=event.response_id
    )


def _text_delta(_: Dispatcher, event: server_response.ResponseOutputTextDelta) -> Payloads:
    yield transport.OutputTextDelta(delta=event.delta, item_id=event.item_id, response_id=event.response_id)


def _output_item_added(view: Dispatcher, event: server_response.ResponseOutputItemAdded) -> Payloads:
    return view.item_update(event.item)


def _output_item_done(view: Dispatcher, event: server_response.ResponseOutputItemDone) -> Payloads:
    yield from view.item_update(event.item)
    if isinstance(event.item, FunctionCallItem):
        yield from view.function_call(event.item, event.response_id)


def _item_placed(
    view: Dispatcher,
    event: server_conversation.ConversationItemAdded
    | server_conversation.ConversationItemCreated
    | server_conversation.ConversationItemDone,
) -> Payloads:
    placed = "previous_item_id" in event.model_fields_set
    return view.item_update(event.item, event.previous_item_id if placed else UNPLACED)


def _item_done(view: Dispatcher, event: server_conversation.ConversationItemDone) -> Payloads:
    yield from _item_placed(view, event)
    match event.item:
        case McpListToolsItem(server_label=label, tools=tools):
            yield transport.McpToolsListed(server_label=label, tools=tools)
        case McpApprovalRequestItem(id=item_id, server_label=label, name=name, arguments=arguments):
            yield transport.McpApprovalRequest(
                item_id=item_id, server_label=label, name=name, arguments=arguments
            )
        case McpCallItem() as call:
            yield transport.McpToolCallCompleted(item=call)
        case _:
            pass


def _item_retrieved(view: Dispatcher, event: server_conversation.ConversationItemRetrieved) -> Payloads:
    return view.item_update(event.item)


def _item_deleted(_: Dispatcher, event: server_conversation.ConversationItemDeleted) -> Payloads:
    yield transport.ItemDeleted(item_id=event.item_id)


def _item_truncated(view: Dispatcher, event: server_conversation.ConversationItemTruncated) -> Payloads:
    return view.known_item_update(event.item_id)


def _input_delta(
    _: Dispatcher, event: server_conversation.ConversationItemInputAudioTranscriptionDelta
) -> Payloads:
    if event.delta:
        yield transport.InputTranscriptDelta(
            delta=event.delta, item_id=event.item_id, content_index=event.content_index or 0
        )


def _input_done(
    view: Dispatcher, event: server_conversation.ConversationItemInputAudioTranscriptionCompleted
) -> Payloads:
    yield transport.InputTranscriptDone(
        transcript=event.transcript, item_id=event.item_id, content_index=event.content_index
    )
    yield from view.known_item_update(event.item_id)


def _speech_started(_: Dispatcher, event: server.InputAudioBufferSpeechStarted) -> Payloads:
    yield transport.InputSpeechStarted(item_id=event.item_id, audio_start_ms=event.audio_start_ms)


def _speech_stopped(_: Dispatcher, event: server.InputAudioBufferSpeechStopped) -> Payloads:
    yield transport.InputSpeechStopped(item_id=event.item_id, audio_end_ms=event.audio_end_ms)


# Any: each function takes the class that the parser gives for its type
_MAPPERS: dict[str, Callable[[Dispatcher, Any], Payloads]] = {
    "response.created": _turn_started,
    "response.done": _turn_done,
    "response.output_audio.done": _audio_done,
    "response.output_audio_transcript.delta": _transcript_delta,
    "response.output_text.delta": _text_delta,
    "response.output_item.added": _output_item_added,
    "response.output_item.done": _output_item_done,
    "conversation.item.created": _item_placed,
    "conversation.item.added": _item_placed,
    "conversation.item.done": _item_done,
    "conversation.item.retrieved": _item_retrieved,
    "conversation.item.deleted": _item_deleted,
    "conversation.item.truncated": _item_truncated,
    "conversation.item.input_audio_transcription.delta": _input_delta,
    "conversation.item.input_audio_transcription.completed": _input_done,
    "input_audio_buffer.speech_started": _speech_started,
    "input_audio_buffer.speech_stopped": _speech_stopped,
}
