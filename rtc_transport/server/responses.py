"""The life of one response, from ``response.created`` to ``response.done``, in the service's order of events. Pure.

A response is a generator that yields how long to wait before its next step; it runs faster than its sound is long, as
the service does, so transcripts run ahead of the voice. Cancelling closes what is open and ends it.
"""

import re
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .items import Item, Json
from .output_items import OutputItems, World
from .replies import Failure, FunctionCall, McpCall, Output, Speech
from .usage import usage
from .vad import RATE_HZ
from .voice import Mono

STEP_SECONDS = 0.02
CHUNK_SECONDS = 0.2
MAX_VOICE_AHEAD_SECONDS = 60.0
"""So much sound may wait to be sent; generation pauses beyond it."""

Steps = Generator[float, None, None]


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


class Response:
    """One response; `advance` runs its steps, `cancel` ends it early."""

    def __init__(self, world: World, request: ResponseRequest, outputs: Sequence[Output], now: float) -> None:
        self.id = world.new_id("resp")
        self.request = request
        self.status = "in_progress"
        self.items = OutputItems(world, self.id, request.in_conversation)
        self.due: float | None = now
        """When the next step is to run; None when it has ended."""
        self._world = world
        self._details: Json | None = None
        self._usage: Json | None = None
        self._steps = self._life(outputs)
        world.emit("response.created", response=self.to_wire())

    def advance(self, now: float) -> None:
        """Runs every step that is due by `now`."""
        while self.due is not None and self.due <= now:
            wait = next(self._steps, None)
            self.due = None if wait is None else self.due + wait

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
            "output": self.items.wire,
            "conversation_id": self._world.conversation.id if request.in_conversation else None,
            "output_modalities": [request.modality],
            "max_output_tokens": request.max_output_tokens,
            "audio": {"output": request.audio_output},
            "usage": self._usage,
            "metadata": request.metadata,
        }

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
            if self._exhausted:
                self._end("incomplete", {"type": "incomplete", "reason": "max_output_tokens"})
                return
        self._end("completed", None)

    def _speak(self, speech: Speech) -> Steps:
        self.items.open_message(spoken=True)
        for delta, chunk in _pieces(speech.transcript, speech.audio):
            self.items.write(delta)
            self.items.speak(chunk)
            if self._exhausted:
                return
            yield max(STEP_SECONDS, len(chunk) / RATE_HZ / self._world.speed)
            while self._world.voice.buffered_seconds > MAX_VOICE_AHEAD_SECONDS:
                yield CHUNK_SECONDS
        self.items.close("completed")

    def _write(self, speech: Speech) -> Steps:
        self.items.open_message(spoken=False)
        for word in _words(speech.text or speech.transcript):
            self.items.write(word)
            if self._exhausted:
                return
            yield STEP_SECONDS
        self.items.close("completed")

    def _call_function(self, call: FunctionCall) -> Steps:
        names = {"name": call.name, "call_id": self._world.new_id("call")}
        head = {"object": "realtime.item", "type": "function_call", "status": "in_progress"}
        self.items.open({**head, **names, "arguments": ""})
        for _ in self.items.write_arguments("function_call", call.arguments, **names):
            yield STEP_SECONDS
        self.items.close("completed")

    def _call_mcp(self, call: McpCall) -> Steps:
        data: Json = {**_mcp("mcp_call", call), "arguments": ""}
        if call.approval_request_id is not None:
            data["approval_request_id"] = call.approval_request_id
        item, place = self.items.open(data), self.items.place()
        for _ in self.items.write_arguments("mcp_call", call.arguments):
            yield STEP_SECONDS
        self._world.emit("response.mcp_call.in_progress", **place)
        yield STEP_SECONDS
        if call.error is not None:
            item.data["error"] = {"type": "tool_execution_error", "message": call.error}
            self._world.emit("response.mcp_call.failed", **place)
        else:
            item.data["output"] = call.output or ""
            self._world.emit("response.mcp_call.completed", **place)
        self.items.close("completed")

    def _ask_approval(self, call: McpCall) -> None:
        item = self.items.open({**_mcp("mcp_approval_request", call), "arguments": call.arguments})
        self._world.approvals[item.id] = call
        self.items.close("completed")

    @property
    def _exhausted(self) -> bool:
        limit = self.request.max_output_tokens
        return isinstance(limit, int) and self.items.tokens.total >= limit

    def _end(self, status: str, details: Json | None) -> None:
        if self.items.is_open:
            self.items.close("incomplete")
        self.due = None
        self.status, self._details = status, details
        self._usage = usage(self.request.context, self.request.instructions, self.items.tokens)
        self._world.voice.complete(self.id)
        self._world.emit("response.done", response=self.to_wire())


def _mcp(kind: str, call: McpCall) -> Json:
    return {"type": kind, "server_label": call.server_label, "name": call.name}


def _words(text: str) -> list[str]:
    """The text in pieces of one word, with the space around them."""
    return re.findall(r"\s*\S+\s*", text)


def _pieces(transcript: str, pcm: Mono) -> list[tuple[str, Mono]]:
    """The transcript word by word, each with its share of the sound; no share is longer than `CHUNK_SECONDS`."""
    words = _words(transcript)
    count = max(1, len(words), -(-len(pcm) // round(CHUNK_SECONDS * RATE_HZ)))
    deltas = [""] * count
    for index, word in enumerate(words):
        deltas[index * count // len(words)] += word
    return list(zip(deltas, np.array_split(pcm, count), strict=True))
