"""What a response puts out: items one after the other, each opened, filled and closed on the wire. Pure."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

from .items import Conversation, Item, Json
from .replies import McpCall
from .usage import OutputTokens, spoken_tokens, text_tokens
from .vad import RATE_HZ
from .voice import Mono, Voice

_ARGUMENT_CHARS = 16


class Emit(Protocol):
    """Queues a server event."""

    def __call__(self, kind: str, /, **fields: Any) -> None: ...


@dataclass
class World:
    """What responses work on."""

    emit: Emit
    conversation: Conversation
    voice: Voice
    new_id: Callable[[str], str]
    approvals: dict[str, McpCall] = field(default_factory=dict)
    """MCP calls that wait for the user's word, by the id of the request."""
    speed: float = 2.0
    """How much faster than real time sound is generated."""
    latency_seconds: float = 0.0
    """The pause before the first output."""


class OutputItems:
    """The items of one response; at most one is open."""

    def __init__(self, world: World, response_id: str, in_conversation: bool) -> None:
        self.wire: list[Json] = []
        self.tokens = OutputTokens()
        self._world = world
        self._emit = world.emit
        self._response_id = response_id
        self._in_conversation = in_conversation
        self._item: Item | None = None
        self._said: str | None = None  # the transcript or text so far, once a content part is open
        self._samples = 0

    @property
    def item(self) -> Item:
        """The open item."""
        assert self._item is not None, "only used while an item is open"
        return self._item

    @property
    def is_open(self) -> bool:
        """Whether there is one."""
        return self._item is not None

    def place(self) -> Json:
        """The fields that say where the open item is."""
        return {"item_id": self.item.id, "output_index": len(self.wire) - 1}

    def open(self, data: Json) -> Item:
        """Begins an item; in the conversation it stands at the end."""
        self._item, self._said, self._samples = Item({"id": self._world.new_id("item"), **data}), None, 0
        self.wire.append(self.item.data)
        self._emit(
            "response.output_item.added",
            response_id=self._response_id,
            output_index=len(self.wire) - 1,
            item=self.item.data,
        )
        if self._in_conversation:
            previous = self._world.conversation.add(self.item)
            self._emit("conversation.item.added", previous_item_id=previous, item=self.item.data)
        return self.item

    def open_message(self, *, spoken: bool) -> None:
        """Begins a message of the assistant and its one content part."""
        message = {"type": "message", "status": "in_progress", "role": "assistant", "content": []}
        self.open({"object": "realtime.item", **message})
        self._said = ""
        if spoken:
            self.item.data["content"] = [{"type": "output_audio", "transcript": ""}]
            part = {"type": "audio", "transcript": ""}
        else:
            self.item.data["content"] = [{"type": "output_text", "text": ""}]
            part = {"type": "text", "text": ""}
        self._emit("response.content_part.added", **self._where(), part=part)

    def write(self, delta: str) -> None:
        """More of the message's text, or of its transcript."""
        if not delta:
            return
        spoken = self._spoken
        self._said = (self._said or "") + delta
        self.item.data["content"][0]["transcript" if spoken else "text"] = self._said
        self.tokens.text += text_tokens(delta)
        kind = "output_audio_transcript" if spoken else "output_text"
        self._emit(f"response.{kind}.delta", **self._where(), delta=delta)

    def speak(self, pcm: Mono) -> None:
        """More of the message's sound."""
        self._world.voice.append(self._response_id, self.item.id, pcm)
        self._samples += len(pcm)
        self.item.audio_ms = self._samples * 1000 // RATE_HZ
        self.tokens.audio += spoken_tokens(len(pcm) * 1000 / RATE_HZ)

    def write_arguments(self, kind: str, arguments: str, **names: str) -> Iterator[None]:
        """The arguments of a call, a piece for each step of the iterator; `names` are the event's further fields."""
        where = {"response_id": self._response_id, **self.place()}
        own = {
            key: value for key, value in names.items() if key != "name"
        }  # the name comes with the end only
        for start in range(0, len(arguments), _ARGUMENT_CHARS):
            delta = arguments[start : start + _ARGUMENT_CHARS]
            self.item.data["arguments"] += delta
            self.tokens.text += text_tokens(delta)
            self._emit(f"response.{kind}_arguments.delta", **where, **own, delta=delta)
            yield
        self._emit(f"response.{kind}_arguments.done", **where, **names, arguments=arguments)

    def close(self, status: str) -> None:
        """Ends the open item as completed or incomplete."""
        item = self.item
        if self._said is not None:
            self._close_part(self._said)
        if "status" in item.data:
            item.data["status"] = status
        if self._in_conversation and self._world.conversation.find(item.id) is item:  # not deleted meanwhile
            previous = self._world.conversation.before(item)
            self._emit("conversation.item.done", previous_item_id=previous, item=item.data)
        self._emit(
            "response.output_item.done",
            response_id=self._response_id,
            output_index=len(self.wire) - 1,
            item=item.data,
        )
        self._item = None

    @property
    def _spoken(self) -> bool:
        return bool(self.item.data["content"][0]["type"] == "output_audio")

    def _where(self) -> Json:
        return {"response_id": self._response_id, **self.place(), "content_index": 0}

    def _close_part(self, said: str) -> None:
        where = self._where()
        if self._spoken:
            self._emit("response.output_audio.done", **where)
            self._emit("response.output_audio_transcript.done", **where, transcript=said)
            part = {"type": "audio", "transcript": said}
        else:
            self._emit("response.output_text.done", **where, text=said)
            part = {"type": "text", "text": said}
        self._emit("response.content_part.done", **where, part=part)
