"""From the driver's thread to whoever reads the microphone: the hand-over, and the clock between both."""

import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..echo_line import DelayLine
from ..levels import RAMP_SECONDS, rise
from ..ports import Pcm
from .health import Margin
from .port import Port
from .ring import SampleRing
from .types import StreamFormat

MARGIN_BLOCKS = (1, 5)  # least and most that stay unread, against callbacks that come late
SLIDE = 1e-3  # the most by which reading goes faster or slower: 1000 ppm, nobody hears it
SLIDE_SECONDS = 10.0
CALM_SECONDS = 0.004  # what jitter moves; less is no drift
WINDOW_SECONDS = 2.0
JUMP_SECONDS = 0.04  # off by more, drift is not what did it


class Stamp(NamedTuple):
    """A point on the device's clock."""

    frames: int
    """Frames recorded until then."""
    seconds: float
    """When that was, on the clock of `time.monotonic`."""


class Capture(Port):
    """The microphone's port: the driver's thread writes to a ring that holds the last 200 ms and some."""

    def __init__(
        self,
        format: StreamFormat,
        on_finished: Callable[[], None],
        *,
        channel: int | None,
        backlog_seconds: float,
    ) -> None:
        super().__init__(format, on_finished)
        self.channel = channel
        self.backlog_frames = round(backlog_seconds * format.rate_hz)
        # Twice the room: what is being read is never what is being written.
        self.ring = SampleRing(2 * self.backlog_frames + 2 * format.block_frames, format.channels)
        self.stamp = Stamp(0, 0.0)

    def exchange(self, block: Pcm, at_seconds: float) -> None:
        """Keep a block; the oldest is overwritten when nobody reads."""
        self.zero_blocks = 0 if block.any() else self.zero_blocks + 1
        self.ring.write(block)
        self.stamp = Stamp(self.ring.put, at_seconds + len(block) / self.format.rate_hz)

    def take(self) -> tuple[NDArray[np.float32], int]:
        """What has been recorded since the last call, mono `[frame]`, and how many frames are lost before it."""
        ring = self.ring
        lost = ring.skip_to(ring.put - self.backlog_frames)
        block = np.empty((ring.available, self.format.channels), np.float32)
        ring.read(block)
        if self.format.channels == 1 or self.channel is not None:
            return block[:, self.channel or 0], lost
        mono: NDArray[np.float32] = block.mean(axis=1, dtype=np.float32)
        return mono, lost


class CaptureReader:
    """Reads a `Capture` at the pace of another clock, without waiting, without growing late.

    A block or more stays unread, so that no read runs short; where one did, nothing is given until so much is there
    again, and one block more is kept from then on. Too much or too little of it is read a little faster or slower, by
    at most 0.1 %; far too much is left out. Without drift the samples come out as they are.
    """

    def __init__(self, capture: Capture, clock: Callable[[], float] = time.monotonic) -> None:
        self._capture = capture
        self._clock = clock
        self._rate_hz = capture.format.rate_hz
        self._line = DelayLine(2 * capture.backlog_frames)
        self._position = 0.0  # in the line
        self._captured = 0  # frames of the device that have gone by at the line's end
        self._fade = rise(round(RAMP_SECONDS * self._rate_hz))
        self._margin = Margin(*MARGIN_BLOCKS)
        self._primed = False
        self._ratio = 1.0
        self._spare: float | None = None  # frames that stayed unread, at the least in this window
        self._window_end = 0.0
        self.dropped_frames = 0
        """Frames that were recorded and left out, because they were not read in time."""

    @property
    def backlog_frames(self) -> float:
        """Frames that wait to be read, as of the last read."""
        return self._line.written - self._position

    @property
    def next_seconds(self) -> float:
        """When the frame that the next read begins with was recorded, on the clock of `time.monotonic`."""
        stamp = self._capture.stamp
        return stamp.seconds - (stamp.frames - self._captured + self.backlog_frames) / self._rate_hz

    def clear(self) -> None:
        """Drop what waits."""
        self._collect()
        self._restart()

    def read(self, n: int) -> NDArray[np.float32]:
        """`n` frames, mono `[n]`, or none: silence until there are enough."""
        self._collect()
        now, keep = self._clock(), self._margin.blocks * self._capture.format.block_frames
        if not self._primed:
            if self.backlog_frames < n + keep:
                return np.empty(0, np.float32)
            self._primed = True
            self._position = float(self._line.written - n - keep)
        if self.backlog_frames < n * self._ratio + 1:
            self._margin.short(now)
            self._restart(keep_backlog=True)
            return np.empty(0, np.float32)
        out = self._line.read(self._position, n, self._ratio)
        self._position += n * self._ratio
        self._follow(now, n, keep)
        if self.backlog_frames > keep + n + JUMP_SECONDS * self._rate_hz:
            self._jump(out, keep)
        return out

    def _collect(self) -> None:
        pcm, lost = self._capture.take()
        if lost:
            self.dropped_frames += lost + int(self.backlog_frames)
            self._restart()
        self._line.write(pcm)
        self._captured += lost + len(pcm)
        excess = self.backlog_frames - self._capture.backlog_frames
        if excess > 0:
            self.dropped_frames += int(excess)
            self._position += int(excess)

    def _restart(self, *, keep_backlog: bool = False) -> None:
        self._primed, self._ratio, self._spare = False, 1.0, None
        if not keep_backlog:
            self._position = float(self._line.written)

    def _follow(self, now: float, n: int, keep: int) -> None:
        """Judge by the least that stayed unread in two seconds how fast to read in the next two."""
        left = self.backlog_frames
        if self._spare is None:
            self._spare, self._window_end = left, now + WINDOW_SECONDS
        self._spare = min(self._spare, left)
        if now < self._window_end:
            return
        error = (self._spare - keep) / self._rate_hz
        beyond = max(0.0, abs(error) - CALM_SECONDS)
        slide = min(beyond / SLIDE_SECONDS, SLIDE)
        self._ratio = 1 + (slide if error > 0 else -slide)
        self._margin.observe(now, self._spare / self._capture.format.block_frames)
        self._spare = None

    def _jump(self, out: NDArray[np.float32], keep: int) -> None:
        """Leave out what is too much: the end of `out` is cross-faded into what follows."""
        target = float(self._line.written - keep)
        fade = self._fade[: len(out)]
        self.dropped_frames += int(target - self._position)
        self._position = target
        there = self._line.read(target - len(fade), len(fade))
        out[-len(fade) :] += (there - out[-len(fade) :]) * fade
