"""When things happen in a playout: when a pull was due, and when the delay may be edited."""

import math
from typing import Literal

from .drift import ClockSkew

PULL_GAP_SECONDS = 0.1  # pulls this far off their rhythm have begun another one
PULL_DRIFT = 1e-3  # how fast the earliest pull of a rhythm is forgotten
PAUSE_SECONDS = 0.1  # silence of this length is no part of a word
PATIENCE_SECONDS = 2.0  # that a wrong delay waits for a pause
URGENT_SECONDS = 0.030  # too long: neither patience nor a wait for full silence
EDIT_PAUSE_SECONDS = 0.030  # between two edits of sound
FAST_EDIT_SECONDS = 0.060  # too long: not even that
LAST_PATIENCE_SECONDS = 5.0  # music and noise neither pause nor repeat themselves, and clocks drift
QUIET = 1e-5  # mean square
SILENCE, SOFT = 1e-4, 1e-2  # of the energy of the loudest sound


class PullRhythm:
    """Cards pull twice in a row and then pause, loops are late: the earliest that a pull could have come."""

    def __init__(self, rate_hz: int) -> None:
        self._rate_hz, self._pulled = rate_hz, 0
        self._start = math.inf  # when the first sample was due at the earliest
        self.skew = ClockSkew()
        """Of the clock of whoever pulls."""

    def due(self, count: int, now: float) -> float:
        """When this pull of `count` samples was due."""
        steady = now - self._pulled / self._rate_hz
        self.skew.observe(steady, now)
        if abs(steady - self._start) > PULL_GAP_SECONDS:
            self._start = steady
        self._start = min(steady, self._start + PULL_DRIFT * count / self._rate_hz)
        due = self._start + self._pulled / self._rate_hz
        self._pulled += count
        return due


class EditTiming:
    """Edits wait for a pause, two seconds at most; what was much too long waits less, or not at all, to its end."""

    def __init__(self, rate_hz: int) -> None:
        self._rate_hz = rate_hz
        self._edited = self._wrong_since = -math.inf  # the last edit, and since when the delay is not right
        self._urgent = False
        self._loudest, self._loud_at = 1e-4, math.inf

    def right(self, now: float) -> None:
        """The delay is as it should be."""
        self._wrong_since, self._urgent = now, False

    def edited(self, now: float) -> None:
        """An edit was made."""
        self._edited = now

    def when(self, excess: int, level: float, now: float) -> Literal["silence", "sound", "anything", "later"]:
        """Whether `excess` samples of delay may go now, from sound of that mean square, and what it counts as.

        "anything" is sound that has to go although nothing like it follows.
        """
        self._loudest = max(level, self._loudest * 0.999)
        if level > max(QUIET, self._loudest * SILENCE):
            self._loud_at = now
        large = excess > URGENT_SECONDS * self._rate_hz
        self._urgent = large or (self._urgent and excess > 0)
        pause = now - self._loud_at >= PAUSE_SECONDS
        if pause or (self._urgent and level < max(QUIET, self._loudest * SOFT)):
            return "silence"
        if large and now - max(self._wrong_since, self._edited) >= LAST_PATIENCE_SECONDS:
            return "anything"
        patience = 0 if self._urgent else PATIENCE_SECONDS
        waited = now - self._wrong_since >= patience and now - self._edited >= EDIT_PAUSE_SECONDS
        return "sound" if waited or excess > FAST_EDIT_SECONDS * self._rate_hz else "later"
