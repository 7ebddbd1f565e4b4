"""The delay that a playout has and the one that it should have, and the speed that keeps it there. Knows no sound."""

import math

from .arrivals import Arrivals
from .drift import MediaClock, SpeedControl
from .interpolation import REACH
from .playout_timing import PullRhythm
from .tape import Tape

SPARE_SECONDS = 0.0005  # above the target that the speed aims at
EASE_SECONDS = 0.001  # by which a delay that the speed holds may be short


class DelayControl:
    """`packet` and `due` tell it what comes and who pulls, `excess` and `extra` say what to do about the delay.

    The wanted delay comes from `Arrivals`. While the clocks of the sender, of this machine and of whoever pulls agree,
    packets keep their places among the pulls. Once a drift is known the two `slide` past each other.
    """

    def __init__(self, rate_hz: int, max_seconds: float, *, keep_late: bool) -> None:
        self._rate_hz = rate_hz
        self._arrivals = Arrivals(max_seconds, keep_late=keep_late)
        self._media, self._rhythm = MediaClock(), PullRhythm(rate_hz)
        self._speed = SpeedControl(rate_hz)
        self.seconds = 0.0
        """How far behind the fastest packet the sound is that was pulled last."""

    def packet(self, ticks: int, now: float, frame_seconds: float) -> None:
        """A packet of that media time has come."""
        self._arrivals.packet(self._media.observe(ticks, now), now, frame_seconds)

    def repairable(self) -> None:
        """A frame was lost that FEC can repair if there is time."""
        self._arrivals.repairable()

    def due(self, count: int, now: float) -> float:
        """When this pull of `count` samples was due."""
        return self._rhythm.due(count, now)

    def pulled(self, ticks: float, until: float) -> None:
        """Media up to `ticks` plays until that moment."""
        self.seconds = until - (self._media.seconds(ticks) + self._arrivals.base_seconds)

    @property
    def target_seconds(self) -> float:
        """How far behind the fastest packet the sound should be."""
        return self._arrivals.target_seconds

    def excess(self, waiting: int, next_ticks: int, block: int, now: float) -> int:
        """Samples of delay that could go: the next packet is due at some pull and could be at an earlier one.

        Delay between two pulls buys nothing, so whole blocks count, and what the last one leaves over. Packets that
        slide are due anywhere between two pulls, and the worst place counts. `waiting` samples are ready.
        """
        seconds = block / self._rate_hz
        arrival = self._media.seconds(next_ticks) + self._arrivals.base_seconds
        if self._speed.sliding:
            spare = now - arrival - self._arrivals.target_seconds - seconds + EASE_SECONDS
            return waiting - REACH + math.floor(spare * self._rate_hz)
        spare = now + waiting // block * seconds - arrival - self._arrivals.target_seconds
        return waiting % block + block * math.floor(spare / seconds + 1e-6)

    def slack(self, block: int) -> int:
        """Samples of delay that may miss while the speed makes up for them."""
        return block // 2 if self._speed.sliding else 0

    def to_expand(self, count: int, excess: int, block: int) -> int:
        """Samples to be made up where `count` miss: at once what the delay lacks, lest a few miss again and again."""
        return max(count, min(-excess, block)) if self._speed.sliding else count

    def to_edit(self, excess: int, block: int) -> int:
        """The excess, or 0 if the speed is enough for it."""
        return 0 if self._speed.sliding and -self.slack(block) <= excess <= block else excess

    def extra(self, block: int, now: float, tape: Tape, next_ticks: int | None) -> float:
        """Samples that this pull plays more than `block`, so that drift does not change the delay.

        `next_ticks` is None while the delay says nothing, because what is played is not what came.
        """
        known = self._media.ppm or self._rhythm.skew.ppm
        if not known and not self._speed.sliding:
            return 0.0
        skew_ppm, aim = self._media.ppm - self._rhythm.skew.ppm if known else None, 0.0
        if self._speed.sliding and next_ticks is not None:
            aim = self.excess(len(tape), next_ticks, block, now) / self._rate_hz
            aim -= SPARE_SECONDS + EASE_SECONDS
        return self._speed.extra(block, skew_ppm, aim, tape.fraction)
