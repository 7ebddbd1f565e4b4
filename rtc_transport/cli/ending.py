"""When a call from a file is over. Pure: fed with events, asked with the time."""

from collections.abc import Mapping
from typing import Any, Literal

Reason = Literal["answered", "no_answer", "max_duration"]

DETECTION_SECONDS = 1.0
"""How long after the end of the source the service may still notice that somebody spoke in its last words."""


class EndOfCall:
    """Says when the call from a file has run its course.

    It has when the source has ended and every answer has been given and played; or when `linger_seconds` have passed
    since the source ended, or somebody was heard, without an answer; or after `max_seconds`. Times are seconds.
    """

    def __init__(self, linger_seconds: float = 10.0, max_seconds: float | None = None) -> None:
        self._linger_seconds = linger_seconds
        self._max_seconds = max_seconds
        self._source_ended: float | None = None
        self._waiting_since: float | None = None  # for an answer to what was heard
        self._quiet_since: float | None = None  # since the last answer
        self._generating: set[str] = set()
        self._sounding: set[str] = set()

    def source_ended(self, now: float) -> None:
        """The source has nothing more to say."""
        if self._source_ended is None:
            self._source_ended = now

    def server_event(self, event: Mapping[str, Any], now: float) -> None:
        """Takes any server event, raw; those that do not matter here are ignored."""
        match event:
            case {"type": "input_audio_buffer.speech_started" | "input_audio_buffer.speech_stopped"}:
                self._waiting_since = now
            case {"type": "response.created", "response": {"id": str(response_id)}}:
                self._waiting_since = None
                self._generating.add(response_id)
            case {"type": "output_audio_buffer.started", "response_id": str(response_id)}:
                self._sounding.add(response_id)
            case {"type": "response.done", "response": {"id": str(response_id)}}:
                self._over(self._generating, response_id, now)
            case {
                "type": "output_audio_buffer.stopped" | "output_audio_buffer.cleared",
                "response_id": str(response_id),
            }:
                self._over(self._sounding, response_id, now)

    @property
    def sounding(self) -> bool:
        """Whether the model speaks."""
        return bool(self._sounding)

    @property
    def waiting(self) -> bool:
        """Whether an answer is still to come."""
        return bool(self._generating) or self._waiting_since is not None or self._quiet_since is None

    def check(self, now: float, playout_seconds: float = 0.0) -> Reason | None:
        """Why the call is over, or None; `playout_seconds` is how long received sound waits to be played."""
        if self._max_seconds is not None and now >= self._max_seconds:
            return "max_duration"
        if self._source_ended is None or self._generating or self._sounding:
            return None
        if self._quiet_since is None or self._waiting_since is not None:
            since = max(self._source_ended, self._waiting_since or 0.0)
            return "no_answer" if now >= since + self._linger_seconds else None
        over = max(self._source_ended + DETECTION_SECONDS, self._quiet_since + playout_seconds)
        return "answered" if now >= over else None

    def _over(self, running: set[str], response_id: str, now: float) -> None:
        running.discard(response_id)
        self._quiet_since = now
