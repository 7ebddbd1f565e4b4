"""Scripted replies: a JSON file of turns, each used once.

::

    {"turns": [{"heard": "What is the weather?",                what the user says in this turn, if they speak
                "when": "weather",                              regular expression on what the user said or wrote
                "text": "Let me see.", "audio": "let-me-see.wav",
                "function_call": {"name": "get_weather", "arguments": {"city": "Rome"}},
                "mcp_call": {"server_label": "db", "name": "query", "arguments": {}, "output": "3 rows"},
                "error": {"code": "server_error", "message": "..."}}],
     "mcp_servers": {"db": [{"name": "query", "input_schema": {"type": "object"}}]}}

Every field is optional, but a turn has an answer: text, audio, a call or an error; calls may be lists. The first
unused turn whose `when` fits answers; when none is left the tone does. `when` looks at the user's last message (for
speech: at `heard`) or, after a tool's output, at that. Text without audio is spoken as a tone of its length. Paths
are relative to the file.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Never

from rtc_audio.errors import AudioError

from .replies import (
    TONE_SECONDS,
    Failure,
    FunctionCall,
    McpCall,
    Mono,
    Output,
    Prompt,
    Speech,
    read_voice,
    tone,
    tone_pcm,
)

SECONDS_PER_WORD = 0.35


class ScriptError(ValueError):
    """A script that cannot be used; the text names the file and the field."""

    def __init__(self, source: str, reason: str) -> None:
        super().__init__(f"{source}: {reason}")


@dataclass
class _Turn:
    outputs: Sequence[Output]
    when: re.Pattern[str] | None
    heard: str | None
    answered: bool = False
    spoken: bool = False


class Script:
    """A `Reply` that follows a script. Make it with `load` or `parse`; one object serves one call (`fresh`)."""

    def __init__(self, turns: Sequence[_Turn], servers: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
        self._turns = turns
        self._servers = servers

    @classmethod
    def load(cls, path: str | Path) -> "Script":
        """Reads a script and the audio files it names; raises ScriptError for anything wrong with them."""
        path = Path(path)
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise ScriptError(
                str(path), f"cannot be read: {(error.strerror or str(error)).lower()}"
            ) from error
        except UnicodeDecodeError as error:
            raise ScriptError(str(path), "is not UTF-8 text") from error
        except ValueError as error:
            raise ScriptError(str(path), f"is not JSON: {error}") from error
        return cls.parse(data, source=str(path), folder=path.parent)

    @classmethod
    def parse(cls, data: Any, *, source: str = "script", folder: Path = Path()) -> "Script":
        """A script from its JSON value; `source` stands in error texts, `folder` is where its audio files are."""
        return _Reader(source, folder).script(data)

    def fresh(self) -> "Script":
        """The same script with no turn used."""
        return Script([_Turn(t.outputs, t.when, t.heard) for t in self._turns], self._servers)

    def transcribe(self, audio: Mono) -> str | None:
        """The next `heard` of the script."""
        for turn in self._turns:
            if turn.heard is not None and not turn.spoken:
                turn.spoken = True
                return turn.heard
        return None

    def respond(self, prompt: Prompt) -> Sequence[Output]:
        """The outputs of the first unused turn that fits, else the tone."""
        for turn in self._turns:
            if not turn.answered and (turn.when is None or turn.when.search(prompt.text or "")):
                turn.answered = True
                return turn.outputs
        return [tone("tone", TONE_SECONDS)]

    def mcp_tools(self, server_label: str) -> Sequence[Mapping[str, Any]] | None:
        """What the script says under ``mcp_servers``."""
        return self._servers.get(server_label)


class _Reader:
    """Turns JSON into turns; every complaint names the field."""

    def __init__(self, source: str, folder: Path) -> None:
        self._source = source
        self._folder = folder

    def script(self, data: Any) -> Script:
        self._object(data, "the script", {"turns", "mcp_servers"})
        turns = [
            self._turn(turn, f"turns[{i}]") for i, turn in enumerate(self._list(data.get("turns"), "turns"))
        ]
        servers = data.get("mcp_servers", {})
        self._object(servers, "mcp_servers", None)
        for label, tools in servers.items():
            for i, tool in enumerate(self._list(tools, f"mcp_servers.{label}")):
                path = f"mcp_servers.{label}[{i}]"
                self._object(tool, path, {"name", "input_schema", "description", "annotations"})
                self._text(tool, "name", path, required=True)
                if not isinstance(tool.get("input_schema"), dict):
                    self._fail(f"{path}.input_schema", "must be an object")
        return Script(turns, servers)

    def _turn(self, turn: Any, path: str) -> _Turn:
        self._object(turn, path, {"heard", "when", "text", "audio", "function_call", "mcp_call", "error"})
        outputs: list[Output] = [*self._speech(turn, path)]
        for i, call in enumerate(self._one_or_more(turn.get("function_call"))):
            outputs.append(self._function_call(call, f"{path}.function_call" + (f"[{i}]" if i else "")))
        for i, call in enumerate(self._one_or_more(turn.get("mcp_call"))):
            outputs.append(self._mcp_call(call, f"{path}.mcp_call" + (f"[{i}]" if i else "")))
        if "error" in turn:
            outputs.append(self._failure(turn["error"], f"{path}.error"))
        if not outputs:
            self._fail(path, "has no answer: give it text, audio, function_call, mcp_call or error")
        return _Turn(outputs, self._pattern(turn, path), self._text(turn, "heard", path))

    def _speech(self, turn: dict[str, Any], path: str) -> list[Output]:
        text, audio = self._text(turn, "text", path), self._text(turn, "audio", path)
        if audio is not None:
            return [Speech(text or f"({Path(audio).name})", self._audio(audio, f"{path}.audio"))]
        if text is not None:
            seconds = max(TONE_SECONDS, SECONDS_PER_WORD * len(text.split()))
            return [Speech(text, tone_pcm(seconds))]
        return []

    def _audio(self, name: str, path: str) -> Mono:
        try:
            return read_voice(self._folder / name)
        except AudioError as error:
            raise ScriptError(self._source, f"{path}: {error}") from error

    def _pattern(self, turn: dict[str, Any], path: str) -> re.Pattern[str] | None:
        when = self._text(turn, "when", path)
        try:
            return None if when is None else re.compile(when, re.IGNORECASE)
        except re.error as error:
            self._fail(f"{path}.when", f"is no regular expression: {error}")

    def _function_call(self, call: Any, path: str) -> FunctionCall:
        self._object(call, path, {"name", "arguments"})
        return FunctionCall(self._text(call, "name", path, required=True) or "", self._arguments(call, path))

    def _mcp_call(self, call: Any, path: str) -> McpCall:
        self._object(call, path, {"server_label", "name", "arguments", "output", "error", "require_approval"})
        if not isinstance(call.get("require_approval", False), bool):
            self._fail(f"{path}.require_approval", "must be true or false")
        return McpCall(
            server_label=self._text(call, "server_label", path, required=True) or "",
            name=self._text(call, "name", path, required=True) or "",
            arguments=self._arguments(call, path),
            output=self._text(call, "output", path),
            error=self._text(call, "error", path),
            require_approval=call.get("require_approval", False),
        )

    def _failure(self, error: Any, path: str) -> Failure:
        self._object(error, path, {"code", "message"})
        return Failure(
            self._text(error, "code", path) or "server_error",
            self._text(error, "message", path, required=True) or "",
        )

    def _arguments(self, call: dict[str, Any], path: str) -> str:
        arguments = call.get("arguments", {})
        if not isinstance(arguments, dict | str):
            self._fail(f"{path}.arguments", "must be an object, or text that is sent as it is")
        return arguments if isinstance(arguments, str) else json.dumps(arguments)

    def _text(self, holder: dict[str, Any], key: str, path: str, *, required: bool = False) -> str | None:
        value = holder.get(key)
        if value is None and not required:
            return None
        if not isinstance(value, str) or not value:
            self._fail(f"{path}.{key}", "is missing" if value is None else "must be text")
        return value

    def _object(self, value: Any, path: str, known: set[str] | None) -> None:
        if not isinstance(value, dict):
            self._fail(path, "must be an object")
        unknown = sorted(set(value) - known) if known is not None else []
        if unknown:
            self._fail(f"{path}.{unknown[0]}", f"is unknown; known are {', '.join(sorted(known or ()))}")

    def _list(self, value: Any, path: str) -> list[Any]:
        if not isinstance(value, list):
            self._fail(path, "is missing" if value is None else "must be a list")
        return value

    def _one_or_more(self, value: Any) -> list[Any]:
        return [] if value is None else value if isinstance(value, list) else [value]

    def _fail(self, path: str, reason: str) -> Never:
        raise ScriptError(self._source, f"{path} {reason}")
