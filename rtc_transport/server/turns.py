"""The user's turns: what is heard becomes messages, by voice activity or on command, and may be answered. Pure."""

from typing import Any

import numpy as np

from .items import Item, Json
from .listening import InputAudio
from .output_items import World
from .replies import Mono, Reply
from .responder import Responder
from .vad import RATE_HZ, SpeechEdge, VadSettings

_TRANSCRIPTION = "conversation.item.input_audio_transcription"
_TRANSCRIPTION_UNAVAILABLE = {
    "type": "server_error",
    "code": "transcription_unavailable",
    "message": "The embedded server does not recognise speech; a script can say what was said (heard).",
}


class Turns:
    """Listens with the turn detection of the session's configuration."""

    def __init__(self, world: World, reply: Reply, responder: Responder, config: Json) -> None:
        self._world = world
        self._emit = world.emit
        self._reply = reply
        self._responder = responder
        self._input = InputAudio()
        self._config = config
        self._idle_since: float | None = None
        self._idle_from_ms = 0
        self.configure(config)

    @property
    def _detection(self) -> Json | None:
        detection: Json | None = self._config["audio"]["input"]["turn_detection"]
        return detection

    def configure(self, config: Json) -> None:
        """Goes on with another configuration of the session."""
        self._config = config
        self._input.configure(None if self._detection is None else VadSettings.of(self._detection))

    def hear(self, pcm: Mono, now: float, *, track: bool) -> None:
        """Sound of the user: of the track, or appended by an event."""
        self._on_edges(self._input.push(pcm, now if track else None), now)

    def commit(self) -> None:
        """Answers an ``input_audio_buffer.commit``; raises EventError."""
        self._add_utterance(*self._input.commit(self._world.new_id("item")))

    def clear(self) -> None:
        """Answers an ``input_audio_buffer.clear``."""
        self._input.clear()
        self._emit("input_audio_buffer.cleared")

    def voice_started(self) -> None:
        """The model speaks, so the user is not idle."""
        self._idle_since = None

    def voice_stopped(self, now: float) -> None:
        """The model has spoken: from now on the user may be idle."""
        self._idle_since, self._idle_from_ms = now, self._input.end_ms

    def tick(self, now: float) -> None:
        """Lets time pass."""
        self._on_edges(self._input.fill_gap(now), now)
        limit_ms = (self._detection or {}).get("idle_timeout_ms")
        if limit_ms is None or self._idle_since is None or now - self._idle_since < limit_ms / 1000:
            return
        if self._responder.idle and not self._input.speaking:
            self._idle_since = None
            self._on_idle(now)

    def _on_edges(self, edges: list[SpeechEdge], now: float) -> None:
        for edge in edges:
            if edge.kind == "started":
                self._on_started(edge)
            else:
                self._on_stopped(edge, now)

    def _on_started(self, edge: SpeechEdge) -> None:
        item_id = self._world.new_id("item")
        self._idle_since = None
        self._input.speech_started(item_id, edge.at_ms)
        self._emit("input_audio_buffer.speech_started", item_id=item_id, audio_start_ms=edge.at_ms)
        if self._wants("interrupt_response"):
            self._responder.interrupt()

    def _on_stopped(self, edge: SpeechEdge, now: float) -> None:
        item_id, pcm = self._input.take_speech(edge.at_ms)
        self._emit("input_audio_buffer.speech_stopped", item_id=item_id, audio_end_ms=edge.at_ms)
        self._add_utterance(item_id, pcm)
        if self._wants("create_response"):
            self._responder.answer(self._config, now)

    def _wants(self, setting: str) -> bool:
        return bool((self._detection or {}).get(setting))

    def _on_idle(self, now: float) -> None:
        item_id, end_ms = self._world.new_id("item"), self._input.end_ms
        span = {"audio_start_ms": self._idle_from_ms, "audio_end_ms": end_ms}
        self._emit("input_audio_buffer.timeout_triggered", item_id=item_id, **span)
        self._add_utterance(item_id, np.zeros((end_ms - self._idle_from_ms) * RATE_HZ // 1000, np.float32))
        self._responder.answer(self._config, now)

    def _add_utterance(self, item_id: str, pcm: Mono) -> None:
        """Commits `pcm` as the user's message; a transcript comes from the reply, if it knows one."""
        conversation = self._world.conversation
        self._emit("input_audio_buffer.committed", item_id=item_id, previous_item_id=conversation.last_id)
        item = Item(_user_speech(item_id), audio_ms=len(pcm) * 1000 // RATE_HZ, pcm=pcm)
        previous = conversation.add(item)
        for step in ("added", "done"):
            self._emit(f"conversation.item.{step}", previous_item_id=previous, item=item.data)
        transcript = self._reply.transcribe(pcm)
        item.data["content"][0]["transcript"] = transcript
        if self._config["audio"]["input"]["transcription"] is not None:
            self._send_transcript(item, transcript)

    def _send_transcript(self, item: Item, transcript: str | None) -> None:
        place: dict[str, Any] = {"item_id": item.id, "content_index": 0}
        if transcript is None:
            self._emit(f"{_TRANSCRIPTION}.failed", **place, error=_TRANSCRIPTION_UNAVAILABLE)
            return
        self._emit(f"{_TRANSCRIPTION}.delta", **place, delta=transcript)
        usage = {"type": "duration", "seconds": item.audio_ms / 1000}
        self._emit(f"{_TRANSCRIPTION}.completed", **place, transcript=transcript, usage=usage)


def _user_speech(item_id: str) -> Json:
    return {
        "object": "realtime.item",
        "id": item_id,
        "type": "message",
        "status": "completed",
        "role": "user",
        "content": [{"type": "input_audio", "transcript": None}],
    }
