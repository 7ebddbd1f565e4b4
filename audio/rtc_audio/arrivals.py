"""How much delay a stream needs: one number per packet, arrival minus media time, and one cost.

The target is the delay D that minimises `D + cost x share of frames later than D`. With a cost of 20 seconds one
late frame in ten seconds is worth 40 ms of delay. A lost frame that in-band FEC can repair enters as one that came
with the packet behind it, so the wait for FEC and the wait for jitter are one rule.
"""

from collections import deque

import numpy as np

WINDOW = 500  # packets that are looked back on
LEARNING = WINDOW // 2  # packets until the start allowance is given up
LATE_COST_SECONDS = 20.0
KEEP_COST_SECONDS, KEEP_SECONDS = 90.0, 0.110
START_SECONDS = 0.022  # room for one packet of FEC
MARGIN_SECONDS = 0.0005
BURST_WEIGHT = 0.02  # of a packet that comes right behind another: a stall is one event, not ten
EVERY = 5  # packets between two looks at the window if each of them was in time
RECENT = 5  # packets whose fastest is a floor: a step of the delay is believed at once
RECENT_SECONDS = 0.04  # that they must span
RESTART_SECONDS = 1.0  # a step this large is another clock, not another path


class Arrivals:
    """Lateness of the last packets; `base_seconds` is the fastest path, `target_seconds` the delay above it.

    With `keep_late` a late frame costs more, because the delay that it adds will stay: rare stalls are then worth a
    delay that is up to `KEEP_SECONDS` longer. The target never exceeds `max_seconds`.
    """

    def __init__(self, max_seconds: float, *, keep_late: bool) -> None:
        self._max, self._keep_late = max_seconds, keep_late
        self._offset, self._weight = np.zeros(WINDOW), np.zeros(WINDOW)
        self._count = 0
        self._recent: deque[tuple[float, float]] = deque(maxlen=RECENT)  # offset, arrival
        self._heard: float | None = None
        self.base_seconds = 0.0
        self.target_seconds = START_SECONDS

    def packet(self, offset: float, now: float, frame_seconds: float) -> None:
        """A packet has arrived `offset` seconds behind its media time."""
        gap = frame_seconds if self._heard is None else now - self._heard
        self._heard = now
        self._recent.append((offset, now))
        if not -RESTART_SECONDS < min(self._floor(), offset) - self.base_seconds < RESTART_SECONDS:
            self._count = 0
        self._add(offset, min(max(gap / frame_seconds, BURST_WEIGHT), 1.0))

    def repairable(self, offset: float) -> None:
        """A lost frame would have been brought by FEC `offset` seconds behind its media time."""
        self._add(offset, 1.0)

    def _floor(self) -> float:
        """The fastest of the recent packets; the base if they are too few or came in one burst."""
        if len(self._recent) < RECENT or self._recent[-1][1] - self._recent[0][1] < RECENT_SECONDS:
            return self.base_seconds
        return min(offset for offset, _ in self._recent)

    def _add(self, offset: float, weight: float) -> None:
        at = self._count % WINDOW
        self._offset[at], self._weight[at] = offset, weight
        self._count += 1
        expected = 0 <= offset - self.base_seconds <= self.target_seconds
        if not expected or self._count % EVERY == 0 or self._count <= EVERY:
            self._aim()

    def _aim(self) -> None:
        """Works the base and the target out anew."""
        used = min(self._count, WINDOW)
        order = self._offset[:used].argsort()
        offsets, upto = self._offset[order], self._weight[order].cumsum()
        share = upto / max(used, LEARNING)
        best = float(offsets[(offsets - LATE_COST_SECONDS * share).argmin()])
        if self._keep_late:
            patient = float(offsets[(offsets - KEEP_COST_SECONDS * share).argmin()])
            best = min(patient, best + KEEP_SECONDS)
        self.base_seconds = float(offsets[0])
        target = max(best, self._floor()) - self.base_seconds + MARGIN_SECONDS
        if self._count < LEARNING:
            target = max(target, START_SECONDS)
        self.target_seconds = min(target, self._max)
