"""The life of one response, from ``response.created`` to ``response.done``, in the service's order of events. Pure.

A response is a generator that yields how long to wait before its next step; it runs faster than its sound is long, as
the service does, so transcripts run ahead of the voice. Cancelling closes what is open and ends it.
"""

import re
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from .items import Conversation, Item, Json
from .replies import Failure, FunctionCall, McpCall, Output, Speech
from .usage import OutputTokens, spoken_tokens, text_tokens, usage
from .vad import RATE_HZ
from .voice import Mono, Voice

STEP_SECONDS = 0.02
CHUNK_SECONDS = 0.2
MAX_VOICE_AHEAD_SECONDS = 60.0
"""So much sound may wait to be sent; generation pauses beyond it."""
_ARGUMENT_CHARS = 16

Steps = Generator[float, None, None]


class Emit(Protocol):
    """Queues a server event."""

    def __call__(self, kind: str, /, **fields: Any) -> None: ...


@dataclass
class World:
    """What a response works on."""

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


@dataclass(frozen=True)
class ResponseRequest:
    """What was asked for: the session's settings with those of the ``response.create`` over them."""

    modality: str
    instructions: str
    max_output_tokens: int | str
    audio_output: Mapping[str, Any]
    metadata: Mapping[str, Any] | None
    in_conversation: bool
    context: Sequence[Item]


@dataclass
class _Open:
    """The output item that is being generated."""

    item: Item
    index: int
    said: str | None = None
    """The transcript or text so far, once the content part is open."""
    samples: int = 0
    """How much sound it has so far."""


class Response:
    """One response; `advance` runs its steps, `cancel` ends it early."""

    def __init__(self, world: World, request: ResponseRequest, outputs: Sequence[Output], now: float) -> None:
        self.id = world.new_id("resp")
        self.request = request
        self.status = "in_progress"
        self.tokens = OutputTokens()
        self._world = world
        self._emit = world.emit
        self._details: Json | None = None
        self._usage: Json | None = None
        self._output: list[Json] = []
        self._open: _Open | None = None
        self._steps = self._life(outputs)
        self.due: float | None = now
        """When the next step is to run; None when it has ended."""

    def advance(self, now: float) -> None:
        """Runs every step that is due by `now`."""
        while self.due is not None and self.due <= now:
            self.due = self.due + wait if (wait := next(self._steps, None)) is not None else None

    def cancel(self, reason: str) -> None:
        """Ends it as cancelled (``turn_detected``, ``client_cancelled``), its open item as incomplete."""
        if self.due is not None:
            self._steps.close()
            self._end("cancelled", {"type": "cancelled", "reason": reason})

    def to_wire(self) -> Json:
        """The ``response`` object."""
        request = self.request
        return {
            "object": "realtime.response",
            "id": self.id,
            "status": self.status,
            "status_details": self._details,
            "output": self._output,
            "conversation_id": self._world.conversation.id if request.in_conversation else None,
            "output_modalities": [request.modality],
            "max_output_tokens": request.max_output_tokens,
            "audio": {"output": request.audio_output},
            "usage": self._usage,
            "metadata": request.metadata,
        }

    def created(self) -> None:
        """Announces it."""
        self._emit("response.created", response=self.to_wire())

    def _life(self, outputs: Sequence[Output]) -> Steps:
        if self._world.latency_seconds:
            yield self._world.latency_seconds
        for output in outputs:
            match output:
                case Speech() if self.request.modality == "audio":
                    yield from self._speak(output)
                case Speech():
                    yield from self._write(output)
                case FunctionCall():
                    yield from self._call_function(output)
                case McpCall(require_approval=True):
                    self._ask_approval(output)
                case McpCall():
                    yield from self._call_mcp(output)
                case Failure():
                    error = {"type": "server_error", "code": output.code, "message": output.message}
                    self._end("failed", {"type": "failed", "error": error})
                    return
            if self._exhausted():
                self._end("incomplete", {"type": "incomplete", "reason": "max_output_tokens"})
                return
        self._end("completed", None)

    def _speak(self, speech: Speech) -> Steps:
        self._open_message({"type": "output_audio", "transcript": ""}, {"type": "audio", "transcript": ""})
        opened = self._opened()
        for delta, chunk in _pieces(speech.transcript, speech.audio):
            self._say(delta, "response.output_audio_transcript.delta", "transcript")
            self._world.voice.append(self.id, opened.item.id, chunk)
            opened.samples += len(chunk)
            opened.item.audio_ms = opened.samples * 1000 // RATE_HZ
            self.tokens.audio += spoken_tokens(len(chunk) * 1000 / RATE_HZ)
            if self._exhausted():
                return
            yield max(STEP_SECONDS, len(chunk) / RATE_HZ / self._world.speed)
            while self._world.voice.buffered_seconds > MAX_VOICE_AHEAD_SECONDS:
                yield CHUNK_SECONDS
        self._close("completed")

    def _write(self, speech: Speech) -> Steps:
        self._open_message({"type": "output_text", "text": ""}, {"type": "text", "text": ""})
        for word in re.findall(r"\s*\S+\s*", speech.text or speech.transcript):
            self._say(word, "response.output_text.delta", "text")
            if self._exhausted():
                return
            yield STEP_SECONDS
        self._close("completed")

    def _say(self, delta: str, kind: str, field_name: str) -> None:
        opened = self._opened()
        if delta:
            opened.said = (opened.said or "") + delta
            opened.item.data["content"][0][field_name] = opened.said
            self.tokens.text += text_tokens(delta)
            self._emit(kind, **self._where(), delta=delta)

    def _call_function(self, call: FunctionCall) -> Steps:
        call_id = self._world.new_id("call")
        self._open_item(
            {
                "object": "realtime.item",
                "type": "function_call",
                "status": "in_progress",
                "name": call.name,
                "call_id": call_id,
                "arguments": "",
            }
        )
        place = {"response_id": self.id, **self._place(), "call_id": call_id}
        yield from self._arguments("response.function_call_arguments", call.arguments, place, name=call.name)
        self._close("completed")

    def _call_mcp(self, call: McpCall) -> Steps:
        data: Json = {
            "type": "mcp_call",
            "server_label": call.server_label,
            "name": call.name,
            "arguments": "",
        }
        if call.approval_request_id is not None:
            data["approval_request_id"] = call.approval_request_id
        self._open_item(data)
        place = self._place()
        yield from self._arguments(
            "response.mcp_call_arguments", call.arguments, {"response_id": self.id, **place}
        )
        self._emit("response.mcp_call.in_progress", **place)
        yield STEP_SECONDS
        item = self._opened().item
        if call.error is not None:
            item.data["error"] = {"type": "tool_execution_error", "message": call.error}
            self._emit("response.mcp_call.failed", **place)
        else:
            item.data["output"] = call.output or ""
            self._emit("response.mcp_call.completed", **place)
        self._close("completed")

    def _ask_approval(self, call: McpCall) -> None:
        self._open_item(
            {
                "type": "mcp_approval_request",
                "server_label": call.server_label,
                "name": call.name,
                "arguments": call.arguments,
            }
        )
        self._world.approvals[self._opened().item.id] = call
        self._close("completed")

    def _arguments(self, kind: str, arguments: str, place: Json, **names: str) -> Steps:
        item = self._opened().item
        for start in range(0, len(arguments), _ARGUMENT_CHARS):
            delta = arguments[start : start + _ARGUMENT_CHARS]
            item.data["arguments"] += delta
            self.tokens.text += text_tokens(delta)
            self._emit(f"{kind}.delta", **place, delta=delta)
            yield STEP_SECONDS
        self._emit(f"{kind}.done", **place, arguments=arguments, **names)

    # ---- items and parts

    def _place(self) -> Json:
        return {"item_id": self._opened().item.id, "output_index": self._opened().index}

    def _where(self) -> Json:
        return {"response_id": self.id, **self._place(), "content_index": 0}

    def _opened(self) -> _Open:
        assert self._open is not None, "only called while an item is open"
        return self._open

    def _open_item(self, data: Json) -> None:
        item = Item({"id": self._world.new_id("item"), **data})
        self._open = _Open(item, len(self._output))
        self._output.append(item.data)
        self._emit(
            "response.output_item.added", response_id=self.id, output_index=self._open.index, item=item.data
        )
        if self.request.in_conversation:
            previous = self._world.conversation.add(item)
            self._emit("conversation.item.added", previous_item_id=previous, item=item.data)

    def _open_message(self, content: Json, part: Json) -> None:
        self._open_item(
            {
                "object": "realtime.item",
                "type": "message",
                "status": "in_progress",
                "role": "assistant",
                "content": [],
            }
        )
        opened = self._opened()
        opened.said = ""
        opened.item.data["content"] = [content]
        self._emit("response.content_part.added", **self._where(), part=part)

    def _close(self, status: str) -> None:
        opened = self._opened()
        if opened.said is not None:
            self._close_part(opened.item.data["content"][0]["type"] == "output_audio", opened.said)
        if "status" in opened.item.data:
            opened.item.data["status"] = status
        if self.request.in_conversation and self._world.conversation.find(opened.item.id) is opened.item:
            previous = self._world.conversation.before(opened.item)
            self._emit("conversation.item.done", previous_item_id=previous, item=opened.item.data)
        self._emit(
            "response.output_item.done",
            response_id=self.id,
            output_index=opened.index,
            item=opened.item.data,
        )
        self._open = None

    def _close_part(self, spoken: bool, said: str) -> None:
        if spoken:
            self._emit("response.output_audio.done", **self._where())
            self._emit("response.output_audio_transcript.done", **self._where(), transcript=said)
            part = {"type": "audio", "transcript": said}
        else:
            self._emit("response.output_text.done", **self._where(), text=said)
            part = {"type": "text", "text": said}
        self._emit("response.content_part.done", **self._where(), part=part)

    # ---- the end

    def _exhausted(self) -> bool:
        limit = self.request.max_output_tokens
        return isinstance(limit, int) and self.tokens.total >= limit

    def _end(self, status: str, details: Json | None) -> None:
        if self._open is not None:
            self._close("incomplete")
        self.due = None
        self.status, self._details = status, details
        self._usage = usage(self.request.context, self.request.instructions, self.tokens)
        self._world.voice.complete(self.id)
        self._emit("response.done", response=self.to_wire())


def _pieces(transcript: str, pcm: Mono) -> list[tuple[str, Mono]]:
    """The transcript word by word, each with its share of the sound; no share is longer than `CHUNK_SECONDS`."""
    words = re.findall(r"\s*\S+\s*", transcript)
    count = max(1, len(words), -(-len(pcm) // round(CHUNK_SECONDS * RATE_HZ)))
    deltas = [""] * count
    for index, word in enumerate(words):
        deltas[index * count // len(words)] += word
    return list(zip(deltas, np.array_split(pcm, count), strict=True))
