"""Voice activity detection by energy, on 24 kHz mono sound. Pure: its only clock is the number of samples.

A frame of 20 ms is loud if its RMS is at least the threshold's level. Speech starts with `ONSET_FRAMES` loud frames
among the last `ONSET_WINDOW`, and stops after `silence_duration_ms` without a loud one. The service's ``server_vad``
has a model where this has a level: its threshold, 0 to 1, is taken as −60 to −20 dBFS, the default 0.5 as −40.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

RATE_HZ = 24_000
FRAME_MS = 20
FRAME = RATE_HZ * FRAME_MS // 1000
ONSET_FRAMES = 3
ONSET_WINDOW = 5

_SEMANTIC_SILENCE_MS = {"low": 1500, "medium": 800, "auto": 800, "high": 400}
"""What the eagerness of ``semantic_vad`` means here, where no model judges whether a sentence is complete."""


@dataclass(frozen=True)
class SpeechEdge:
    """Speech began or ended; `at_ms` is on the clock of all input audio of the session.

    A start includes the prefix padding, a stop the silence that was waited for: they bound the audio of the turn.
    """

    kind: Literal["started", "stopped"]
    at_ms: int


@dataclass(frozen=True)
class VadSettings:
    """What a session's ``turn_detection`` asks of the detector."""

    threshold: float = 0.5
    prefix_padding_ms: int = 300
    silence_duration_ms: int = 500

    @classmethod
    def of(cls, turn_detection: Mapping[str, Any]) -> "VadSettings":
        """The settings for a complete ``turn_detection`` object of the session."""
        if turn_detection["type"] == "semantic_vad":
            return cls(silence_duration_ms=_SEMANTIC_SILENCE_MS[turn_detection["eagerness"]])
        return cls(
            turn_detection["threshold"],
            turn_detection["prefix_padding_ms"],
            turn_detection["silence_duration_ms"],
        )


class EnergyVad:
    """Finds where speech starts and stops in a stream of samples."""

    def __init__(self, settings: VadSettings, at_ms: float = 0.0) -> None:
        """`at_ms`: how much input audio the session has had before the first `push`."""
        self._settings = settings
        self._level = 10 ** ((-60 + 40 * settings.threshold) / 20)
        self._origin_ms = at_ms
        self._frames = 0
        self._rest: NDArray[np.float32] = np.zeros(0, np.float32)
        self._loud: list[bool] = []
        self._quiet_ms = 0
        self._last_stop_ms = at_ms
        self.speaking = False

    def push(self, pcm: NDArray[np.float32]) -> list[SpeechEdge]:
        """The edges within `pcm` (mono `[frame]`), in order; what is left of a frame waits for the next call."""
        pcm = np.concatenate((self._rest, pcm))
        whole = len(pcm) // FRAME
        self._rest = pcm[whole * FRAME :].copy()
        frames = pcm[: whole * FRAME].reshape(whole, FRAME)
        levels = np.sqrt(np.mean(np.square(frames), axis=1))
        edges = (self._frame(bool(loud)) for loud in levels >= self._level)
        return [edge for edge in edges if edge is not None]

    def _frame(self, loud: bool) -> SpeechEdge | None:
        self._frames += 1
        self._loud = [*self._loud[1 - ONSET_WINDOW :], loud]
        now_ms = self._origin_ms + self._frames * FRAME_MS
        if not self.speaking:
            return self._start(now_ms) if sum(self._loud) >= ONSET_FRAMES else None
        self._quiet_ms = 0 if loud else self._quiet_ms + FRAME_MS
        return self._stop(now_ms) if self._quiet_ms >= self._settings.silence_duration_ms else None

    def _start(self, now_ms: float) -> SpeechEdge:
        self.speaking, self._quiet_ms = True, 0
        onset_ms = now_ms - (len(self._loud) - self._loud.index(True)) * FRAME_MS
        return SpeechEdge(
            "started", round(max(self._last_stop_ms, onset_ms - self._settings.prefix_padding_ms))
        )

    def _stop(self, now_ms: float) -> SpeechEdge:
        self.speaking, self._loud, self._last_stop_ms = False, [], now_ms
        return SpeechEdge("stopped", round(now_ms))
