"""What happened in a call, collected while it runs, in bounded memory: both outlines, turns, marks, delays.

Pure: times are arguments, in seconds since the connect began. `report.draw_call` makes a picture of it.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from math import nan
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

Lane = Literal["user", "model"]

Direction = Literal["sent", "received", "transport"]
"""Client events are sent, server events received; the transport reports the rest itself."""

AUDIBLE = 10 ** (-40 / 20)
"""Peak above which a bin counts as sound when the latency of an answer is read off."""

MAX_POINTS = 20_000

VOICE_END = {"output_audio_buffer.stopped", "output_audio_buffer.cleared"}
DRAWN = VOICE_END | {
    "input_audio_buffer.speech_started",
    "input_audio_buffer.speech_stopped",
    "output_audio_buffer.started",
    "session.updated",
    "audio_interrupted",
    "mute_change",
}


class Peaks:
    """The outline of a waveform: the lowest and the highest sample of every bin.

    Memory is bounded: when `max_bins` are full, neighbours are merged and `bin_seconds` doubles.
    """

    def __init__(self, bin_seconds: float = 0.01, max_bins: int = MAX_POINTS) -> None:
        self.bin_seconds = bin_seconds
        self._low = np.zeros(max_bins, np.float32)
        self._high = np.zeros(max_bins, np.float32)
        self._used = 0

    @property
    def seconds(self) -> float:
        """Where the last bin ends."""
        return self._used * self.bin_seconds

    def add(self, pcm: NDArray[np.float32], rate_hz: int, at_seconds: float) -> None:
        """Adds float32 `[frame]` or `[frame, channel]` whose first frame sounds at `at_seconds`."""
        if not len(pcm) or at_seconds < 0:
            return
        mono = pcm if pcm.ndim == 1 else pcm[:, 0]
        while at_seconds + len(mono) / rate_hz >= len(self._low) * self.bin_seconds:
            self._halve()
        bins = ((at_seconds + np.arange(len(mono)) / rate_hz) / self.bin_seconds).astype(np.int64)
        starts = np.flatnonzero(np.diff(bins, prepend=-1))
        index = bins[starts]
        self._low[index] = np.minimum(self._low[index], np.minimum.reduceat(mono, starts))
        self._high[index] = np.maximum(self._high[index], np.maximum.reduceat(mono, starts))
        self._used = max(self._used, int(index[-1]) + 1)

    def outline(self) -> tuple[NDArray[np.float64], NDArray[np.float32], NDArray[np.float32]]:
        """`(time, low, high)`, one entry a bin, time in seconds at the middle of the bin."""
        time = (np.arange(self._used, dtype=np.float64) + 0.5) * self.bin_seconds
        return time, self._low[: self._used].copy(), self._high[: self._used].copy()

    def audible(self, start: float, end: float) -> NDArray[np.float64]:
        """Times in `[start, end]` at which something can be heard."""
        time, low, high = self.outline()
        return time[(np.maximum(high, -low) > AUDIBLE) & (time >= start) & (time <= end)]

    def _halve(self) -> None:
        half = len(self._low) // 2
        for samples, merge in ((self._low, np.minimum), (self._high, np.maximum)):
            samples[:half] = merge(samples[0 : 2 * half : 2], samples[1 : 2 * half : 2])
            samples[half:] = 0
        self._used = (self._used + 1) // 2
        self.bin_seconds *= 2


@dataclass(frozen=True)
class TimedEvent:
    """An event of the call and when it was sent or received."""

    seconds: float
    direction: Direction
    event: Mapping[str, Any]

    @property
    def type(self) -> str:
        """The event's type on the wire, or the transport event's name."""
        return str(self.event.get("type", ""))


@dataclass(frozen=True)
class Turn:
    """A stretch in which somebody had the floor; `cut` if it was interrupted."""

    lane: Lane
    start: float
    end: float
    cut: bool = False


class Delays(NamedTuple):
    """What delays the voice at a moment; NaN where nothing is known."""

    seconds: float
    playout_ms: float = nan
    """How long sound waits between its arrival and its playing."""
    round_trip_ms: float = nan
    """There and back over the network."""
    jitter_ms: float = nan
    """How unevenly packets arrive (RFC 3550)."""


@dataclass
class CallTrace:
    """What the picture needs, collected while the call runs; bounded."""

    sent: Peaks = field(default_factory=Peaks)
    heard: Peaks = field(default_factory=Peaks)
    events: list[TimedEvent] = field(default_factory=list)
    delays: list[Delays] = field(default_factory=list)

    def add_event(self, timed: TimedEvent) -> None:
        """Keeps the event if the picture shows its type."""
        if timed.type in DRAWN and len(self.events) < MAX_POINTS:
            self.events.append(timed)

    def add_delays(self, delays: Delays) -> None:
        """Keeps the delays of a moment; when there are too many, every other one goes."""
        if len(self.delays) >= MAX_POINTS:
            del self.delays[1::2]
        self.delays.append(delays)

    @property
    def seconds(self) -> float:
        """When the last thing happened."""
        last_event = self.events[-1].seconds if self.events else 0.0
        return max(self.sent.seconds, self.heard.seconds, last_event)


def turns(events: Iterable[TimedEvent], end: float) -> list[Turn]:
    """Who had the floor when, as the service saw it.

    What the service took for speech ends when it says so and is as long as its ``audio_start_ms`` and
    ``audio_end_ms`` are apart (its padding and the silence that ended it included). A turn still open ends at `end`.
    """
    found: list[Turn] = []
    speech: TimedEvent | None = None
    voice: TimedEvent | None = None
    for timed in events:
        match timed.type:
            case "input_audio_buffer.speech_started":
                speech = timed
            case "input_audio_buffer.speech_stopped" if speech is not None:
                length = _milliseconds(timed, "audio_end_ms") - _milliseconds(speech, "audio_start_ms")
                start = timed.seconds - length / 1000 if length > 0 else speech.seconds
                found.append(Turn("user", max(0.0, start), timed.seconds))
                speech = None
            case "output_audio_buffer.started":
                voice = timed
            case type_ if type_ in VOICE_END and voice is not None:
                found.append(Turn("model", voice.seconds, timed.seconds, type_.endswith("cleared")))
                voice = None
    if speech is not None:
        found.append(Turn("user", speech.seconds, end))
    if voice is not None:
        found.append(Turn("model", voice.seconds, end))
    return found


def muted_spans(events: Iterable[TimedEvent], end: float) -> list[tuple[float, float]]:
    """When the input was muted."""
    spans: list[tuple[float, float]] = []
    since: float | None = None
    for timed in events:
        if timed.type != "mute_change":
            continue
        if timed.event.get("muted") and since is None:
            since = timed.seconds
        elif not timed.event.get("muted") and since is not None:
            spans.append((since, timed.seconds))
            since = None
    return spans if since is None else [*spans, (since, end)]


def latencies(trace: CallTrace) -> Iterator[tuple[float, float]]:
    """For every answer, when the user's last sound before it ended and when its own first sound was heard."""
    heard_until = 0.0
    for turn in turns(trace.events, trace.seconds):
        if turn.lane == "user":
            heard_until = turn.end
        elif heard_until:
            spoken = trace.sent.audible(0.0, min(heard_until, turn.start))
            answered = trace.heard.audible(turn.start, turn.end)
            if len(spoken) and len(answered):
                yield float(spoken[-1]), float(answered[0])
            heard_until = 0.0


def _milliseconds(timed: TimedEvent, name: str) -> float:
    value = timed.event.get(name)
    return float(value) if isinstance(value, int | float) else 0.0
