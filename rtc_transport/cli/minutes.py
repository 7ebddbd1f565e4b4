"""Who said what in a call, as the service wrote it down. Pure: fed with raw server events."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

TEXT_FIELDS = {
    "response.output_audio_transcript.delta": "delta",
    "response.output_text.delta": "delta",
    "response.output_audio_transcript.done": "transcript",
    "response.output_text.done": "text",
    "conversation.item.input_audio_transcription.delta": "delta",
    "conversation.item.input_audio_transcription.completed": "transcript",
}
MAX_LINES = 10_000


@dataclass
class Line:
    """One thing somebody said; `text` is None as long as nobody wrote it down."""

    speaker: Literal["user", "model"]
    text: str | None = None
    seconds: float | None = None
    """How long the user was heard, where the service says it."""
    cut: bool = False
    """Whether it was interrupted."""

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


class Minutes:
    """Collects the lines of a conversation in their order; bounded."""

    def __init__(self) -> None:
        self.lines: list[Line] = []
        self.responses = 0
        self.failure: str | None = None
        """Why the latest response failed, in the service's words."""
        self._by_item: dict[str, Line] = {}
        self._speech_start_ms: dict[str, float] = {}

    def server_event(self, event: Mapping[str, Any]) -> None:
        """Takes any server event, raw; those that do not matter here are ignored."""
        match event:
            case {
                "type": "input_audio_buffer.speech_started",
                "item_id": str(item),
                "audio_start_ms": int(start),
            }:
                self._line(item, "user")
                self._speech_start_ms[item] = start
            case {
                "type": "input_audio_buffer.speech_stopped",
                "item_id": str(item),
                "audio_end_ms": int(end),
            }:
                length_ms = end - self._speech_start_ms.pop(item, end)
                self._line(item, "user").seconds = max(0.0, length_ms / 1000)
            case {
                "type": "response.output_item.done",
                "item": {
                    "type": "function_call",
                    "id": str(item),
                    "name": str(name),
                    "arguments": str(arguments),
                },
            }:
                self._line(item, "model").text = f"{name}({arguments})"
            case {
                "type": "response.done",
                "response": {"status": str(status), "output": list(output)} as response,
            }:
                self._response_done(status, output, response.get("status_details"))
            case {"type": str(type_), "item_id": str(item)} if type_ in TEXT_FIELDS:
                self._write(item, type_, event.get(TEXT_FIELDS[type_]))

    def _response_done(self, status: str, output: list[Any], details: object) -> None:
        self.responses += 1
        self.failure = _reason(details) if status == "failed" else None
        for item in output:
            if status == "cancelled" and isinstance(item, Mapping) and str(item.get("id")) in self._by_item:
                self._by_item[str(item.get("id"))].cut = True

    def _write(self, item: str, type_: str, text: object) -> None:
        if not isinstance(text, str):
            return
        line = self._line(item, "user" if type_.startswith("conversation") else "model")
        line.text = (line.text or "") + text if type_.endswith(".delta") else text

    def _line(self, item: str, speaker: Literal["user", "model"]) -> Line:
        if item not in self._by_item:
            line = Line(speaker)
            if len(self.lines) < MAX_LINES:
                self._by_item[item] = line
                self.lines.append(line)
            return line
        return self._by_item[item]


def _reason(details: object) -> str:
    match details:
        case {"error": {"message": str(message)}}:
            return message
        case {"error": {"code": str(code)}} | {"reason": str(code)}:
            return code
    return "the service gives no reason"
