"""What each server event means for the history: a table from event types to what they say of items."""

from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

from .fields import index, objects, part, text
from .history import UNPLACED, History, Previous, Unplaced

_REMEMBERED_RESPONSES = 64
_Event = Mapping[str, Any]


class Recorder:
    """Writes server events into a history.

    Items of responses outside of the conversation (`conversation: "none"`) are not part of it; the service shows such
    a response by a `conversation_id` of null.
    """

    def __init__(self, history: History) -> None:
        self.history = history
        self._outside: OrderedDict[str, None] = OrderedDict()

    def record(self, event: _Event) -> None:
        """Takes note of an event; those that say nothing of items are ignored."""
        handler = _HANDLERS.get(text(event, "type"))
        if handler is not None:
            handler(self, event)

    def _placed(self, event: _Event, *, new: bool = False) -> None:
        previous: Previous | Unplaced = UNPLACED
        if "previous_item_id" in event:
            previous = text(event, "previous_item_id") or None
        self.history.put(part(event, "item"), previous, new=new)

    def _added(self, event: _Event) -> None:
        self._placed(event, new=True)

    def _retrieved(self, event: _Event) -> None:
        self.history.put(part(event, "item"))

    def _deleted(self, event: _Event) -> None:
        if item_id := text(event, "item_id"):
            self.history.remove(item_id)

    def _response_created(self, event: _Event) -> None:
        response = part(event, "response")
        if "conversation_id" in response and response["conversation_id"] is None:
            self._outside[text(response, "id")] = None
            if len(self._outside) > _REMEMBERED_RESPONSES:
                self._outside.popitem(last=False)

    def _response_done(self, event: _Event) -> None:
        response = part(event, "response")
        for item in objects(response, "output"):
            self._output(text(response, "id"), item)

    def _output_item(self, event: _Event) -> None:
        self._output(text(event, "response_id"), part(event, "item"))

    def _output(self, response_id: str, item: dict[str, Any]) -> None:
        if response_id not in self._outside or text(item, "id") in self.history:
            self.history.put(item)

    def _is_ours(self, event: _Event) -> bool:
        return text(event, "response_id") not in self._outside or text(event, "item_id") in self.history

    def _content_part(self, event: _Event) -> None:
        content = part(event, "part")
        name, part_type = _PARTS.get(text(content, "type"), ("", ""))
        if not name or not self._is_ours(event):
            return
        item_id, place = text(event, "item_id"), index(event, "content_index")
        if text(event, "type").endswith(".done") and name in content:
            self.history.set_text(item_id, place, name, part_type, text(content, name))
        else:
            self.history.add_text(item_id, place, name, part_type, "")


_PARTS = {
    "audio": ("transcript", "output_audio"),
    "output_audio": ("transcript", "output_audio"),
    "text": ("text", "output_text"),
    "output_text": ("text", "output_text"),
}


def _delta(name: str, part_type: str) -> Callable[[Recorder, _Event], None]:
    def grow(recorder: Recorder, event: _Event) -> None:
        if recorder._is_ours(event):
            item_id, place = text(event, "item_id"), index(event, "content_index")
            recorder.history.add_text(item_id, place, name, part_type, text(event, "delta"))

    return grow


def _whole(name: str, part_type: str) -> Callable[[Recorder, _Event], None]:
    def complete(recorder: Recorder, event: _Event) -> None:
        if recorder._is_ours(event) and isinstance(event.get(name), str):
            item_id, place = text(event, "item_id"), index(event, "content_index")
            recorder.history.set_text(item_id, place, name, part_type, event[name])

    return complete


_HANDLERS: dict[str, Callable[[Recorder, _Event], None]] = {
    "conversation.item.created": Recorder._added,
    "conversation.item.added": Recorder._added,
    "conversation.item.done": Recorder._placed,
    "conversation.item.retrieved": Recorder._retrieved,
    "conversation.item.deleted": Recorder._deleted,
    "conversation.item.input_audio_transcription.delta": _delta("transcript", "input_audio"),
    "conversation.item.input_audio_transcription.completed": _whole("transcript", "input_audio"),
    "response.created": Recorder._response_created,
    "response.done": Recorder._response_done,
    "response.output_item.added": Recorder._output_item,
    "response.output_item.done": Recorder._output_item,
    "response.content_part.added": Recorder._content_part,
    "response.content_part.done": Recorder._content_part,
    "response.output_audio_transcript.delta": _delta("transcript", "output_audio"),
    "response.output_audio_transcript.done": _whole("transcript", "output_audio"),
    "response.output_text.delta": _delta("text", "output_text"),
    "response.output_text.done": _whole("text", "output_text"),
    "response.function_call_arguments.delta": _delta("arguments", ""),
    "response.function_call_arguments.done": _whole("arguments", ""),
    "response.mcp_call_arguments.delta": _delta("arguments", ""),
    "response.mcp_call_arguments.done": _whole("arguments", ""),
}
