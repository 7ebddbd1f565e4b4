"""How much delay a stream needs: one number per packet, arrival minus media time, and one cost.

The target is the delay D that minimises `D + cost x share of frames later than D`. With a cost of 20 seconds one
late frame in ten seconds is worth 40 ms of delay. A lost frame that in-band FEC can repair is as late as the packet
behind it, which is as late as packets are, and a frame more: so the share of such losses and the lateness of all
packets tell how much delay FEC is worth, before the worst of both has met.
"""

import math
from collections import deque

import numpy as np

WINDOW = 500  # packets that are looked back on
LEARNING = WINDOW // 2  # packets until the start allowance is given up
LATE_COST_SECONDS = 20.0
KEEP_COST_SECONDS, KEEP_SECONDS = 90.0, 0.125
REPAIR_COST_SECONDS = 12.0  # a loss that is not repaired is concealed, which is less bad than a late frame
START_SECONDS = 0.022  # room for one packet of FEC
MARGIN_SECONDS = 0.0005
BURST_WEIGHT = 0.02  # of a packet that comes right behind another: a stall is one event, not ten
BURST_GAP = 0.25  # of a frame: packets closer than this are one burst
EVERY = 10  # packets between two looks at the window if each of them was in time
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
        self._repairs = np.zeros(WINDOW, np.int64)  # losses noted since each packet that FEC can repair
        self._count = 0
        self._frame_seconds = 0.020
        self._lead, self._lead_offset = 0, math.inf  # where the packet is that a burst counts as
        self._recent: deque[tuple[float, float]] = deque(maxlen=RECENT)  # offset, arrival
        self._heard: float | None = None
        self.base_seconds = 0.0
        self.target_seconds = START_SECONDS

    def packet(self, offset: float, now: float, frame_seconds: float) -> None:
        """A packet has arrived `offset` seconds behind its media time."""
        gap = frame_seconds if self._heard is None else now - self._heard
        self._heard, self._frame_seconds = now, frame_seconds
        self._recent.append((offset, now))
        if not -RESTART_SECONDS < min(self._floor(), offset) - self.base_seconds < RESTART_SECONDS:
            self._count, self._lead_offset = 0, math.inf
            self._repairs[:] = 0
        weight = min(max(gap / frame_seconds, BURST_WEIGHT), 1.0)
        if weight < BURST_GAP and self._lead_offset < offset:  # the burst is as late as its latest packet
            weight, self._weight[self._lead] = float(self._weight[self._lead]), weight
        if weight >= BURST_GAP:
            self._lead, self._lead_offset = self._count % WINDOW, offset
        self._add(offset, weight)

    def repairable(self) -> None:
        """A frame was lost that FEC can repair if there is time."""
        self._repairs[(self._count - 1) % WINDOW] += 1
        self._aim()

    def _floor(self) -> float:
        """The fastest of the recent packets; the base if they are too few or came in one burst."""
        if len(self._recent) < RECENT or self._recent[-1][1] - self._recent[0][1] < RECENT_SECONDS:
            return self.base_seconds
        return min(self._recent)[0]

    def _add(self, offset: float, weight: float) -> None:
        at = self._count % WINDOW
        self._offset[at], self._weight[at], self._repairs[at] = offset, weight, 0
        self._count += 1
        expected = 0 <= offset - self.base_seconds <= self.target_seconds
        if not expected or self._count % EVERY == 0 or self._count <= EVERY:
            self._aim()

    def _aim(self) -> None:
        """Works the base and the target out anew."""
        used = min(self._count, WINDOW)
        order = self._offset[:used].argsort()
        offsets, upto = self._offset[order], self._weight[order].cumsum()
        in_time, delays, repaired = upto / max(used, LEARNING), offsets, 0.0
        if losses := int(self._repairs[:used].sum()):
            delays = np.concatenate((offsets, offsets + self._frame_seconds))
            upto = np.concatenate(([0.0], upto))
            in_time = upto[offsets.searchsorted(delays, "right")] / max(used, LEARNING)
            behind = upto[offsets.searchsorted(delays - self._frame_seconds + 1e-9, "right")] / upto[-1]
            repaired = REPAIR_COST_SECONDS * losses / max(used, LEARNING) * behind
        best = float(delays[(delays - LATE_COST_SECONDS * in_time - repaired).argmin()])
        if self._keep_late:
            patient = float(delays[(delays - KEEP_COST_SECONDS * in_time - repaired).argmin()])
            best = min(patient, best + KEEP_SECONDS)
        self.base_seconds = float(offsets[0])
        target = max(best, self._floor()) - self.base_seconds + MARGIN_SECONDS
        if self._count < LEARNING:
            target = max(target, START_SECONDS)
        self.target_seconds = min(target, self._max)
