"""The output audio buffer: what the model has said and the track has not yet sent. Pure; 24 kHz mono."""

from collections import deque
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from .vad import RATE_HZ

Mono = NDArray[np.float32]

FADE_SECONDS = 0.005


@dataclass(frozen=True)
class VoiceEdge:
    """The sound of a response began or was sent to its end."""

    kind: Literal["started", "stopped"]
    response_id: str


@dataclass(frozen=True)
class CutItem:
    """An item of which not everything was sent: `sent_ms` is how much was."""

    response_id: str
    item_id: str
    sent_ms: int


@dataclass
class _Utterance:
    """The sound of one item."""

    item_id: str
    chunks: deque[Mono] = field(default_factory=deque)
    sent: int = 0


@dataclass
class _Line:
    """The sound of one response: utterances one after the other; `complete` when no more is generated."""

    response_id: str
    utterances: list[_Utterance] = field(default_factory=list)
    complete: bool = False
    started: bool = False

    @property
    def buffered(self) -> int:
        return sum(len(chunk) for utterance in self.utterances for chunk in utterance.chunks)


class Voice:
    """Speaks responses one after the other; `read` is the only clock."""

    def __init__(self) -> None:
        self._lines: deque[_Line] = deque()
        # What responses that were cut off still generate is dropped.
        self._cut: deque[str] = deque(maxlen=64)
        self._edges: list[VoiceEdge] = []
        self._drained: _Line | None = None
        self._last = np.float32(0)
        self._fade_from = np.float32(0)

    @property
    def playing(self) -> str | None:
        """The response that is being heard, from its first sample until the last has been sent."""
        return next((line.response_id for line in self._lines if line.started), None)

    @property
    def busy(self) -> bool:
        """Whether a response has sound that was not sent to its end."""
        return bool(self._lines)

    @property
    def buffered_seconds(self) -> float:
        """What is still to be sent."""
        return sum(line.buffered for line in self._lines) / RATE_HZ

    def append(self, response_id: str, item_id: str, pcm: Mono) -> None:
        """Queues sound of an item behind what there is; ignored for a response that was cut off."""
        if response_id in self._cut or not len(pcm):
            return
        line = self._line(response_id)
        if not line.utterances or line.utterances[-1].item_id != item_id:
            line.utterances.append(_Utterance(item_id))
        line.utterances[-1].chunks.append(pcm)

    def complete(self, response_id: str) -> None:
        """Nothing more comes for this response: it stops when what is queued has been sent."""
        for line in self._lines:
            if line.response_id == response_id:
                line.complete = True

    def read(self, count: int) -> Mono:
        """The next `count` samples, silence where there are none; never waits."""
        out = np.zeros(count, np.float32)
        filled = 0
        while filled < count and self._lines:
            line = self._lines[0]
            if line is self._drained:  # its last sample went out with the previous read
                self._edges.append(VoiceEdge("stopped", line.response_id))
                self._lines.popleft()
                self._drained = None
                continue
            filled += self._read_line(line, out[filled:])
            if line.buffered:
                break
            if line.complete:
                self._drained = line
            break
        self._smooth(out, filled)
        return out

    @property
    def has_edges(self) -> bool:
        """Whether `take_edges` has something to give."""
        return bool(self._edges)

    def take_edges(self) -> list[VoiceEdge]:
        """What has happened since the last call, in order."""
        edges, self._edges = self._edges, []
        return edges

    def clear(self) -> tuple[list[str], list[CutItem]]:
        """Drops everything: the responses that had sound here, and the items that were not sent to their end.

        The next `read` fades within 5 ms from the last sample sent.
        """
        responses = [line.response_id for line in self._lines]
        cut = [
            CutItem(line.response_id, utterance.item_id, utterance.sent * 1000 // RATE_HZ)
            for line in self._lines
            for utterance in line.utterances
            if utterance.chunks or (utterance is line.utterances[-1] and not line.complete)
        ]
        self._cut.extend(responses)
        self._lines.clear()
        self._drained = None
        self._fade_from = self._last
        return responses, cut

    def _line(self, response_id: str) -> _Line:
        for line in self._lines:
            if line.response_id == response_id:
                return line
        self._lines.append(_Line(response_id))
        return self._lines[-1]

    def _read_line(self, line: _Line, out: Mono) -> int:
        filled = 0
        for utterance in line.utterances:
            while utterance.chunks and filled < len(out):
                chunk = utterance.chunks.popleft()
                part = chunk[: len(out) - filled]
                out[filled : filled + len(part)] = part
                filled += len(part)
                utterance.sent += len(part)
                if len(part) < len(chunk):
                    utterance.chunks.appendleft(chunk[len(part) :])
        if filled and not line.started:
            line.started = True
            self._edges.append(VoiceEdge("started", line.response_id))
        return filled

    def _smooth(self, out: Mono, filled: int) -> None:
        """A cut ends in a ramp instead of a click."""
        if not filled and self._fade_from:
            length = min(len(out), round(FADE_SECONDS * RATE_HZ))
            out[:length] = self._fade_from * np.linspace(1, 0, length, dtype=np.float32)
        self._fade_from = np.float32(0)
        self._last = out[-1] if len(out) else self._last
