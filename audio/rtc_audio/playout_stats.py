"""What a playout counts, and which stretches of media time it has played."""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Self

SPANS = 256  # stretches remembered; one ends at a pause, a flush or a drop


@dataclass(frozen=True)
class PlayoutStats:
    """Counts since the beginning; packets unless the name says milliseconds."""

    received: int = 0
    """Packets that were inserted, late, duplicate and malformed ones included."""
    late: int = 0
    """Came after their place had been played."""
    duplicate: int = 0
    """Came twice."""
    malformed: int = 0
    """Were no Opus, or had a number far off the stream."""
    lost: int = 0
    """Had not come when they were due."""
    discarded: int = 0
    """Came, but were dropped unplayed: stood for by an expansion, beyond the largest delay, or flushed."""
    underruns: int = 0
    """Times that nothing was there to be played."""
    edits: int = 0
    """Times that sound was shortened or lengthened to change the delay."""
    decoded_ms: float = 0
    """Sound of packets that came."""
    fec_ms: float = 0
    """Sound of lost packets that was recovered from the packet behind them."""
    concealed_ms: float = 0
    """Sound of lost packets that was made up from its neighbours."""
    expanded_ms: float = 0
    """Sound that was made up while nothing was there; it adds delay until content is left out for it."""
    silence_ms: float = 0
    """Silence, or the noise of the background, played because nothing was there: at the start, in pauses and gaps."""
    removed_ms: float = 0
    """Sound taken out to lower the delay."""
    added_ms: float = 0
    """Sound repeated to raise the delay."""

    @classmethod
    def of(cls, packets: Mapping[str, int], samples: Mapping[str, int], rate_hz: int) -> Self:
        """Counts of packets by field name, and of samples by field name without `_ms`."""
        milliseconds = {f"{name}_ms": round(count * 1000 / rate_hz, 3) for name, count in samples.items()}
        values: dict[str, Any] = {**packets, **milliseconds}
        return cls(**values)

    def __add__(self, other: "PlayoutStats") -> "PlayoutStats":
        """Both together."""
        return PlayoutStats(**{f.name: getattr(self, f.name) + getattr(other, f.name) for f in fields(self)})


class PlayedSpans:
    """Stretches of media time (ticks) that went to the listener, merged and bounded."""

    def __init__(self) -> None:
        self._spans: deque[list[int]] = deque(maxlen=SPANS)

    def add(self, start: int, stop: int) -> None:
        """Media from `start` to `stop` goes on the tape."""
        if stop <= start:
            return
        if self._spans and self._spans[-1][1] >= start >= self._spans[-1][0]:
            self._spans[-1][1] = max(stop, self._spans[-1][1])
        else:
            self._spans.append([start, stop])

    def drop_last(self, ticks: int) -> None:
        """The newest `ticks` are not played after all."""
        while ticks > 0 and self._spans:
            start, stop = self._spans[-1]
            self._spans[-1][1] = max(start, stop - ticks)
            ticks -= stop - start
            if self._spans[-1][1] == start:
                self._spans.pop()

    def between(self, start: int, stop: int) -> int:
        """Ticks played of the media from `start` to `stop`."""
        return sum(max(0, min(b, stop) - max(a, start)) for a, b in self._spans)

    @property
    def end(self) -> int:
        """Where the newest stretch ends; 0 before the first."""
        return self._spans[-1][1] if self._spans else 0
