"""What the embedded server's "model" answers: a parrot, a tone, or whatever a `Reply` of your own returns."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from rtc_audio.errors import AudioFileError

from .vad import RATE_HZ

logger = logging.getLogger("rtc_transport.server")

Mono = NDArray[np.float32]

TONE_HZ = 440.0
TONE_SECONDS = 1.0
TONE_LEVEL = 0.1  # −20 dBFS
TONE_RAMP_SECONDS = 0.01
MAX_FILE_SECONDS = 600


@dataclass(frozen=True)
class Prompt:
    """What the model is asked to answer."""

    text: str | None = None
    """The last thing the user wrote, or said as far as its transcript is known, or a tool's output; None if unknown."""
    audio: Mono | None = None
    """The user's last utterance, mono 24 kHz; None if they wrote."""
    modality: Literal["audio", "text"] = "audio"
    items: Sequence[Mapping[str, Any]] = ()
    """The conversation, oldest first, as wire objects."""
    instructions: str = ""


@dataclass(frozen=True)
class Speech:
    """A message: said aloud with its transcript, or only written where the session asks for text."""

    transcript: str
    audio: Mono = field(repr=False)
    """Mono 24 kHz."""
    text: str | None = None
    """What is written instead of the transcript when the session asks for text."""


@dataclass(frozen=True)
class FunctionCall:
    """A call of a function of the application; `arguments` is JSON text."""

    name: str
    arguments: str


@dataclass(frozen=True)
class McpCall:
    """A call of a tool on an MCP server, which ends with `output` or with `error`.

    With `require_approval` the user is asked first, and the call follows when they approve.
    """

    server_label: str
    name: str
    arguments: str
    output: str | None = None
    error: str | None = None
    require_approval: bool = False
    approval_request_id: str | None = None


@dataclass(frozen=True)
class Failure:
    """The response ends as failed."""

    code: str
    message: str


Output = Speech | FunctionCall | McpCall | Failure


class Reply(Protocol):
    """The model behind the server; called on the event loop, so it must not wait."""

    def transcribe(self, audio: Mono) -> str | None:
        """What the user said in `audio` (mono 24 kHz), or None if that is not known; called once per utterance."""
        ...

    def respond(self, prompt: Prompt) -> Sequence[Output]:
        """The outputs of one response, in order."""
        ...

    def mcp_tools(self, server_label: str) -> Sequence[Mapping[str, Any]] | None:
        """The tools of an MCP server that the session names, or None if it cannot be reached."""
        ...


class GuardedReply:
    """A reply whose faults become failed responses instead of the end of the call."""

    def __init__(self, reply: Reply) -> None:
        self._reply = reply

    def transcribe(self, audio: Mono) -> str | None:
        """As the reply says; None if it raises."""
        try:
            return self._reply.transcribe(audio)
        except Exception:
            logger.warning("the reply's transcribe() raised", exc_info=True)
            return None

    def respond(self, prompt: Prompt) -> Sequence[Output]:
        """As the reply says; a failure if it raises."""
        try:
            return list(self._reply.respond(prompt))
        except Exception as error:
            logger.warning("the reply's respond() raised", exc_info=True)
            return [Failure("server_error", f"The reply raised {type(error).__name__}.")]

    def mcp_tools(self, server_label: str) -> Sequence[Mapping[str, Any]] | None:
        """As the reply says; None if it raises."""
        try:
            return self._reply.mcp_tools(server_label)
        except Exception:
            logger.warning("the reply's mcp_tools() raised", exc_info=True)
            return None


class _NoKnowledge:
    """Neither understands speech nor knows MCP servers."""

    def transcribe(self, audio: Mono) -> str | None:
        return None

    def mcp_tools(self, server_label: str) -> Sequence[Mapping[str, Any]] | None:
        return None


class Tone(_NoKnowledge):
    """Answers everything with a second of 440 Hz."""

    def respond(self, prompt: Prompt) -> Sequence[Output]:
        """One tone."""
        return [tone("tone", TONE_SECONDS)]


class Parrot(_NoKnowledge):
    """Says the user's utterance back; what was written comes back written, or as a tone where a voice is asked for.

    It understands nothing, so its transcript is its name and the duration: ``(parrot, 3.2 s)``.
    """

    def respond(self, prompt: Prompt) -> Sequence[Output]:
        """The utterance, as it was heard."""
        if prompt.audio is None:
            return [tone("parrot", TONE_SECONDS, text=prompt.text)]
        return [Speech(f"(parrot, {len(prompt.audio) / RATE_HZ:.1f} s)", prompt.audio)]


def tone(name: str, seconds: float, *, text: str | None = None, transcript: str | None = None) -> Speech:
    """A message spoken as a tone that begins and ends softly; its transcript says who and how long."""
    return Speech(transcript or f"({name}, {seconds:.1f} s)", tone_pcm(seconds), text)


def tone_pcm(seconds: float) -> Mono:
    """`seconds` of 440 Hz at −20 dBFS, mono 24 kHz, with 10 ms ramps."""
    count = round(seconds * RATE_HZ)
    time = np.arange(count) / RATE_HZ
    ramp = np.clip(np.minimum(time, time[::-1]) / TONE_RAMP_SECONDS, 0, 1)
    return (TONE_LEVEL * ramp * np.sin(2 * np.pi * TONE_HZ * time)).astype(np.float32)


def read_voice(path: str | Path) -> Mono:
    """A sound file as mono 24 kHz. Blocks while it decodes; raises AudioFileError, also for more than ten minutes."""
    from rtc_audio.decoding import AudioFile  # PyAV only where a file is read
    from rtc_audio.resampler import StreamResampler

    file = AudioFile(path)
    pieces: list[Mono] = []
    try:
        resampler = StreamResampler(file.rate_hz, RATE_HZ)
        for block in file.blocks():
            if block.rate_hz != file.rate_hz:
                raise AudioFileError(str(path), "its sampling rate changes midway")
            pieces.append(resampler.push(block.pcm.mean(axis=1)))
            if sum(map(len, pieces)) > MAX_FILE_SECONDS * RATE_HZ:
                raise AudioFileError(str(path), f"longer than {MAX_FILE_SECONDS} s")
        return np.concatenate([*pieces, resampler.flush()])
    finally:
        file.close()
