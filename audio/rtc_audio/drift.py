"""Clocks that are not ours: the sender's, which media time follows, and that of whoever pulls.

How much faster than ours they run is seen from the lower edge of how late they seem: what delays a packet or a pull
only ever adds to it, so jitter, stalls and busy machines leave the edge alone, and a path that changes bends it. A
skew counts only if the edge is straight over at least 20 seconds and if its slope is far beyond what could be chance.
"""

import math
from collections import deque

import numpy as np

from .rtp_timeline import RTP_CLOCK_HZ

INTERVAL_SECONDS = 1.0  # of which the earliest counts
WINDOW, LEAST = 120, 20  # intervals that are looked at
FRESH = 0.1  # share of them that is new when they are looked at again
GROUPS = 8  # of intervals, the earliest of which make the edge
RESOLUTION_SECONDS = 5e-5  # to which the edge can be known at best
CONFIDENCE = 10.0  # standard errors
LEAST_PPM, MOST_PPM = 10.0, 1000.0
BENT_SECONDS = 0.002  # off a straight line: another path
CHANCE = 1.4  # standard error of the earliest of n intervals: their spread times this, by n

AIM_PPM, MOST_AIM_PPM = 100_000.0, 300.0  # of speed for a second of delay that should go, and at most
CHANGE_PPM = 200.0  # of speed in a second
LANDING_PPM = 50.0  # of speed towards a whole sample, when there is no drift any more


class ClockSkew:
    """By how much another clock runs faster than ours; `ppm` is 0 while that is not known, or next to nothing."""

    def __init__(self) -> None:
        self.ppm = 0.0
        # The least offset of each interval, behind the time at which it was.
        self._edge: deque[tuple[float, float]] = deque(maxlen=WINDOW)
        self._least, self._least_at = math.inf, 0.0
        self._until = -math.inf
        self._fresh = 0  # intervals since the last look

    def observe(self, offset: float, now: float) -> None:
        """Our time `now` is `offset` seconds ahead of theirs, or less than that by whatever is late."""
        if offset < self._least:
            self._least, self._least_at = offset, now
        if now < self._until:
            return
        self._edge.append((self._least_at, self._least))
        self._least, self._until = math.inf, now + INTERVAL_SECONDS
        self._fresh += 1
        if len(self._edge) >= LEAST and self._fresh >= FRESH * len(self._edge):
            self._fresh = 0
            self._judge()

    def _judge(self) -> None:
        """What the edge says, if it says anything."""
        each = len(self._edge) // GROUPS
        points = np.array(self._edge)[-each * GROUPS :]
        at, offset = (points - points[-1]).T
        away = at - at.mean()
        slope = float(away @ offset / (away @ away))
        for _ in range(4):  # which is the earliest of a group depends on the slope
            lateness = (offset - slope * at).reshape(GROUPS, each)
            earliest = lateness.argmin(1) + np.arange(GROUPS) * each
            away = at[earliest] - at[earliest].mean()
            slope = float(away @ offset[earliest] / (away @ away))
        lateness = np.sort((offset - slope * at).reshape(GROUPS, each))
        edge = lateness[:, 0]
        bend = math.sqrt(float(np.square(edge - edge.mean()).sum()) / (GROUPS - 2))
        spread = float(np.sort(lateness[:, each // 2] - edge)[GROUPS // 2])
        error = max(bend, RESOLUTION_SECONDS, CHANCE * spread / each) / math.sqrt(float(away @ away))
        self._conclude(-slope * 1e6, CONFIDENCE * error * 1e6, bend > BENT_SECONDS + 2 * spread, each)

    def _conclude(self, ppm: float, error_ppm: float, bent: bool, each: int) -> None:
        if bent or abs(ppm) > MOST_PPM:
            for _ in range(each):
                self._edge.popleft()
        elif error_ppm < max(abs(ppm), LEAST_PPM):
            least = LEAST_PPM / 2 if self.ppm else LEAST_PPM
            self.ppm = ppm if abs(ppm) >= least else 0.0
        elif abs(ppm - self.ppm) > error_ppm:
            self.ppm = 0.0


class MediaClock:
    """The sender's clock on ours: when the media of a time (ticks) would have come, but for a constant."""

    def __init__(self) -> None:
        self._skew = ClockSkew()
        self._ticks, self._seconds, self._pace = 0, 0.0, 1.0
        self.ppm = 0.0
        """By how much the sender's clock is known to be faster than ours."""

    def observe(self, ticks: int, now: float) -> float:
        """A packet of that media time has come; by how much it is behind."""
        self._skew.observe(now - ticks / RTP_CLOCK_HZ, now)
        if self._skew.ppm != self.ppm:
            self._ticks, self._seconds = ticks, self.seconds(ticks)
            self.ppm = self._skew.ppm
            self._pace = 1 / (1 + self.ppm * 1e-6)
        return now - self.seconds(ticks)

    def seconds(self, ticks: float) -> float:
        """Our time that belongs to a media time."""
        return self._seconds + (ticks - self._ticks) / RTP_CLOCK_HZ * self._pace


class SpeedControl:
    """How fast sound is played so that its delay stays: by the skew of the clocks, and a little by what it is off.

    Nothing can be heard of it: at most 0.1 % of speed, which takes seconds to change.
    """

    def __init__(self, rate_hz: int) -> None:
        self._rate_hz = rate_hz
        self._ppm = 0.0
        self.sliding = False
        """Whether the speed is not, or not quite, that of the samples: packets and pulls move past each other."""

    def extra(self, count: int, skew_ppm: float | None, aim: float, fraction: float) -> float:
        """How many samples more than `count` the next pull of that many plays.

        `skew_ppm` is by how much the sender's clock is faster than the puller's, None while no skew is known; `aim`
        are seconds of delay that should go; `fraction` is of a sample where the playhead is. Without a skew it moves
        on to a whole sample, and stays.
        """
        wanted, change = 0.0, CHANGE_PPM * count / self._rate_hz
        if skew_ppm is not None:
            wanted = _within(MOST_PPM, skew_ppm + _within(MOST_AIM_PPM, AIM_PPM * aim))
        self._ppm += _within(change, wanted - self._ppm)
        self.sliding = skew_ppm is not None or self._ppm != 0 or fraction != 0
        if skew_ppm is not None or self._ppm:
            return self._ppm * 1e-6 * count
        return _within(LANDING_PPM * 1e-6 * count, round(fraction) - fraction)


def _within(most: float, value: float) -> float:
    return min(max(value, -most), most)
