"""The server's side of one realtime session, without network and without clock.

Client events, the user's sound and time go in; server events come out (`take_events`), and the model's voice is pulled
(`speak`). Times are seconds of any monotonic clock; sound is mono float32 at 24 kHz.
"""

import copy
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from .config import updated_session
from .formats import AppendedAudio
from .items import Conversation, Item, Json, client_item
from .output_items import World
from .problems import EventError, check_size, optional, parse_event, required
from .replies import GuardedReply, Mono, Reply
from .responder import Responder
from .turns import Turns
from .voice import Voice


@dataclass(frozen=True)
class SessionOptions:
    """How a session behaves beyond its configuration."""

    max_session_seconds: float = 3600.0
    """After it the session ends with ``session_expired``, as the service's does."""
    generation_speed: float = 2.0
    """How much faster than real time the model generates its voice."""
    latency_seconds: float = 0.0
    """How long the model thinks before its first output."""
    max_event_bytes: int = 262_144
    """The largest client event, as in the answer's ``a=max-message-size``."""
    peer_max_event_bytes: int | None = None
    """The largest event the peer takes; images are left out of items that would not fit."""
    acknowledge: bool = True
    """Whether ``session.update`` is answered; False is a fault to test with."""
    reject_update: str | None = None
    """Answers ``session.update`` with an error of this text; a fault to test with."""


class Session:
    """One conversation; made when the call is, `open`ed when the control channel is.

    `expires_at` is what the client is told of the session's end, in seconds since 1970.
    """

    def __init__(
        self,
        config: Json,
        reply: Reply,
        *,
        new_id: Callable[[str], str],
        now: float,
        model_fixed: bool = False,
        expires_at: int | None = None,
        options: SessionOptions | None = None,
    ) -> None:
        self._options = options or SessionOptions()
        self._config = config
        self._reply = reply = GuardedReply(reply)
        self._new_id = new_id
        self._model_fixed = model_fixed
        self._ends_at = now + self._options.max_session_seconds
        self._shown = {} if expires_at is None else {"expires_at": expires_at}
        self._events: list[Json] = []
        self._conversation = Conversation(new_id("conv"))
        self._world = World(
            self._emit,
            self._conversation,
            Voice(),
            new_id,
            speed=self._options.generation_speed,
            latency_seconds=self._options.latency_seconds,
        )
        self._responder = Responder(self._world, reply, now)
        self._turns = Turns(self._world, reply, self._responder, config)
        self._appended = AppendedAudio()
        self._audio_sent = False
        self.ended: str | None = None
        """Why the session is over: the call is to be closed once the events are sent."""
        self._commands: Mapping[str, Callable[[Json, float], None]] = {
            "session.update": self._update,
            "conversation.item.create": self._create_item,
            "conversation.item.delete": self._delete_item,
            "conversation.item.retrieve": self._retrieve_item,
            "conversation.item.truncate": self._truncate_item,
            "input_audio_buffer.append": self._append,
            "input_audio_buffer.commit": lambda event, now: self._turns.commit(),
            "input_audio_buffer.clear": lambda event, now: self._turns.clear(),
            "output_audio_buffer.clear": lambda event, now: self._responder.clear(),
            "response.create": lambda event, now: self._responder.create(self._config, event, now),
            "response.cancel": lambda event, now: self._responder.cancel(optional(event, "response_id", str)),
        }

    # ---- what goes in and comes out

    def open(self) -> None:
        """The control channel is open."""
        self._emit("session.created", session={**self._config, **self._shown})

    def receive(self, message: str | bytes, now: float) -> None:
        """A message from the client; whatever is wrong with it becomes an ``error`` event."""
        event_id = None
        try:
            event = parse_event(message)
            given = event.get("event_id")
            event_id = given if isinstance(given, str) else None
            kind = required(event, "type", str)
            if kind not in self._commands:
                listed = ", ".join(f"'{name}'" for name in self._commands)
                raise EventError(
                    "invalid_value", f"Invalid value: '{kind}'. Supported values are: {listed}.", "type"
                )
            check_size(message, self._options.max_event_bytes)
            self._commands[kind](event, now)
        except EventError as error:
            self._emit("error", error=error.to_wire(event_id))

    def hear(self, pcm: Mono, now: float) -> None:
        """Sound of the user's track that arrived at `now`."""
        self._turns.hear(pcm, now, track=True)

    def speak(self, count: int) -> Mono:
        """The next `count` samples of the model's voice, silence where it says nothing."""
        return self._world.voice.read(count)

    @property
    def speaking(self) -> bool:
        """Whether there is voice under way or to come."""
        return self._world.voice.busy

    @property
    def voice_turned(self) -> bool:
        """Whether a voice began or ended in the last `speak`, which `tick` will tell."""
        return self._world.voice.has_edges

    def tick(self, now: float) -> None:
        """Lets time pass; to be called every 20 ms or so."""
        self._responder.advance(self._config, now)
        for edge in self._world.voice.take_edges():
            self._emit(f"output_audio_buffer.{edge.kind}", response_id=edge.response_id)
            self._audio_sent = True
            if edge.kind == "started":
                self._turns.voice_started()
            else:
                self._turns.voice_stopped(now)
        self._turns.tick(now)
        if now >= self._ends_at and self.ended is None:
            self._expire()

    def take_events(self) -> list[Json]:
        """The server events since the last call, in order."""
        events, self._events = self._events, []
        return events

    # ---- client events

    def _update(self, event: Json, now: float) -> None:
        if self._options.reject_update is not None:
            raise EventError("invalid_value", self._options.reject_update, "session")
        update = required(event, "session", dict)
        known = _mcp_labels(self._config)
        self._config = updated_session(
            self._config, update, model_fixed=self._model_fixed, audio_sent=self._audio_sent
        )
        self._model_fixed = self._model_fixed or "model" in update
        self._turns.configure(self._config)
        if self._options.acknowledge:
            self._emit("session.updated", session={**self._config, **self._shown})
        for label in _mcp_labels(self._config):
            if label not in known:
                self._list_mcp_tools(label)

    def _create_item(self, event: Json, now: float) -> None:
        item = client_item(required(event, "item", dict), self._conversation, self._new_id)
        self._conversation.check_room(item)
        self._add(item, optional(event, "previous_item_id", str))
        if item.data["type"] == "mcp_approval_response":
            self._on_approval(item.data["approval_request_id"], item.data["approve"], now)

    def _on_approval(self, request_id: str, approved: bool, now: float) -> None:
        call = self._world.approvals.pop(request_id, None)  # once
        if call is not None and approved:
            call = replace(call, require_approval=False, approval_request_id=request_id)
            self._responder.call_mcp(self._config, call, now)

    def _delete_item(self, event: Json, now: float) -> None:
        item_id = required(event, "item_id", str)
        self._conversation.delete(item_id)
        self._emit("conversation.item.deleted", item_id=item_id)

    def _retrieve_item(self, event: Json, now: float) -> None:
        item = self._conversation.get(required(event, "item_id", str), "retrieve")
        self._emit("conversation.item.retrieved", item=item.data)

    def _truncate_item(self, event: Json, now: float) -> None:
        item_id = required(event, "item_id", str)
        place = {key: required(event, key, int) for key in ("content_index", "audio_end_ms")}
        for key, value in place.items():
            if value < 0:
                raise EventError("integer_below_min_value", f"Invalid '{key}': must not be negative.", key)
        self._conversation.truncate(item_id, **place)
        self._emit("conversation.item.truncated", item_id=item_id, **place)

    def _append(self, event: Json, now: float) -> None:
        encoded = required(event, "audio", str)
        pcm = self._appended.decode(encoded, self._config["audio"]["input"]["format"]["type"])
        self._turns.hear(pcm, now, track=False)

    # ---- helpers

    def _emit(self, kind: str, /, **fields: Any) -> None:
        event = {"type": kind, "event_id": self._new_id("event"), **copy.deepcopy(fields)}
        limit = self._options.peer_max_event_bytes
        if limit is not None and "item" in event and len(json.dumps(event)) > limit:
            for part in event["item"].get("content", ()):
                part.pop("image_url", None)
        self._events.append(event)

    def _add(self, item: Item, previous_item_id: str | None) -> None:
        previous = self._conversation.add(item, previous_item_id)
        for step in ("added", "done"):
            self._emit(f"conversation.item.{step}", previous_item_id=previous, item=item.data)

    def _list_mcp_tools(self, label: str) -> None:
        tools = self._reply.mcp_tools(label)
        data: Json = {
            "type": "mcp_list_tools",
            "id": self._new_id("mcpl"),
            "server_label": label,
            "tools": [],
        }
        item = Item(data)
        previous = self._conversation.add(item)
        self._emit("conversation.item.added", previous_item_id=previous, item=data)
        self._emit("mcp_list_tools.in_progress", item_id=item.id)
        if tools is None:
            self._emit("mcp_list_tools.failed", item_id=item.id)
            return
        data["tools"] = [dict(tool) for tool in tools]
        self._emit("conversation.item.done", previous_item_id=previous, item=data)
        self._emit("mcp_list_tools.completed", item_id=item.id)

    def _expire(self) -> None:
        seconds = self._options.max_session_seconds
        shown = f"{seconds / 60:g} minutes" if seconds >= 60 else f"{seconds:g} seconds"
        error = EventError("session_expired", f"Your session hit the maximum duration of {shown}.")
        self._emit("error", error=error.to_wire(None))
        self.ended = "session_expired"


def _mcp_labels(config: Mapping[str, Any]) -> list[str]:
    return [tool["server_label"] for tool in config["tools"] if tool["type"] == "mcp"]
