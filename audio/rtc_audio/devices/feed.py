"""The event loop's half of a loudspeaker: keeps a `Render` as far ahead as its own lateness asks for."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from ..ports import Pull
from ..resampler import PullResampler, StreamResampler
from .health import Margin
from .render import Render

AHEAD_BLOCKS = (2, 10)  # least and most that wait for the device: 20 to 100 ms
GRACE_SECONDS = 0.001  # by which drivers ask late for their blocks
RETRY_SECONDS = 0.003


class Feed:
    """Pulls at `rate_hz` what the device plays at its own rate, and gives back at `rate_hz` what it played.

    One block more is kept ahead whenever none was left, one less after half a minute in which it was not needed.
    """

    def __init__(self, render: Render, pull: Pull, rate_hz: int) -> None:
        self.render = render
        self._rate_hz = rate_hz
        self._block_frames = render.format.block_frames
        self._resampler = PullResampler(pull, rate_hz, render.format.rate_hz)
        self._back = StreamResampler(render.format.rate_hz, rate_hz)
        self._margin = Margin(*AHEAD_BLOCKS)
        self._shortages = 0

    @property
    def ahead_seconds(self) -> float:
        """How much is to wait for the device."""
        return self._margin.steps * self.render.format.block_seconds

    def fill(self, now: float) -> None:
        """Pull until as much waits as should."""
        render, left = self.render, self.render.least_left()
        if render.shortages != self._shortages:
            self._shortages = render.shortages
            self._margin.short(now)
        elif left is not None:
            self._margin.observe(now, left)
        while render.waiting < self._margin.steps:
            render.put(self._resampler.pull(self._block_frames))

    def flush(self) -> None:
        """Fade out what sounds, drop what waits, and what comes next: the fade of whoever was stopped."""
        self.render.flush()
        self._resampler.pull(self._block_frames)

    def next_at(self, now: float) -> float:
        """When the driver will have asked for its next block: the time for the next `fill`.

        It need not say so itself: to wake another thread costs the driver's more than all its work on a block.
        """
        asked_at = self.render.asked_at
        due = now if asked_at is None else asked_at + self.render.format.block_seconds + GRACE_SECONDS
        return due if due > now else now + RETRY_SECONDS

    def written(self) -> Iterator[tuple[NDArray[np.float32], float]]:
        """What was played since the last call, and when it begins to sound."""
        delay_seconds = self._back.delay_seconds
        for block, at_seconds in self.render.take_written():
            yield self._back.push(block), at_seconds - delay_seconds

    def latency_seconds(self, now: float) -> float:
        """How long it takes until what is pulled now sounds."""
        return self.render.waiting_seconds(now) + self._resampler.delay_seconds

    def played_seconds(self, now: float) -> float:
        """Sound that was put and has really sounded."""
        return self.render.played_frames(now) / self.render.format.rate_hz
