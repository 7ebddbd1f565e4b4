"""From the driver's thread to whoever reads the microphone: the hand-over, and the clock between both."""

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from ..echo_line import BEFORE, DelayLine
from ..levels import RAMP_SECONDS, rise
from .health import POLL_SECONDS, Margin
from .port import Port
from .ring import BlockRing
from .types import StreamFormat

KEEP_SECONDS = 0.005
KEEP_STEPS = (1, 8)  # least and most times that: how much earlier than needed sound is to be there
SLIDE = 1e-3  # the most by which reading goes faster or slower: 1000 ppm, nobody hears it
SLIDE_SECONDS = 10.0
CALM_SECONDS = 0.002  # what time stamps jitter by; less is no drift
WINDOW_SECONDS = 2.0
PIECE_FRAMES = 480  # in which the line moves by no more than half a sample
JUMP_SECONDS = 0.04  # off by more, drift is not what did it
PATIENCE_SECONDS = 0.4  # longer than a reader that stood still needs to catch up
MAX_BLOCK_AGE_SECONDS = 0.5  # older at their arrival, blocks have stood in a queue and their age says nothing


class Capture(Port):
    """The microphone's port: the driver's thread leaves its blocks in memory, the last `backlog_seconds` can be read.

    `clock` is that of `time.monotonic`, on which the driver says when blocks were recorded.
    """

    def __init__(
        self,
        format: StreamFormat,
        on_finished: Callable[[], None],
        *,
        clock: Callable[[], float],
        channel: int | None,
        backlog_seconds: float,
    ) -> None:
        super().__init__(format, on_finished)
        self.clock = clock
        self._channel = channel
        self._backlog = math.ceil(backlog_seconds / format.block_seconds)
        # Twice the room: what is being read is never what is being written.
        self._slots = 2 * max(self._backlog, round(POLL_SECONDS / format.block_seconds)) + 2
        ring = BlockRing(self._slots, format)
        self._frames, self._memory = ring.frames, ring.memory
        self._stamps = [(0.0, 0.0)] * self._slots
        """For each block, when it came and when its first frame was recorded."""
        self._taken = self._looked_at = 0  # blocks, by the event loop
        self._zero_blocks = 0
        self.oldest_seconds = 0.0
        """How old a block's first frame was when it came, at the most; the reader sets it back to 0."""

    @property
    def backlog_frames(self) -> int:
        """How many are kept for a reader that is late."""
        return self._backlog * self.format.block_frames

    @property
    def stamp(self) -> tuple[int, float]:
        """A point on the device's clock: frames recorded until then, and when that was."""
        done = self.done
        at_seconds = self._stamps[(done - 1) % self._slots][1]
        return done * self.format.block_frames, at_seconds + self.format.block_seconds

    def on_block(self, block: memoryview, now: float, at_seconds: float, flagged: bool, /) -> None:
        """Keep a block; the oldest is overwritten when nobody reads."""
        try:
            slot = self.done % self._slots
            self._memory[slot][:] = block
            self._stamps[slot] = now, at_seconds
            self.done += 1
            if flagged:
                self._flag()
        except Exception as error:  # noqa: BLE001 - an exception would end the stream and reach the terminal
            self._fail(error)

    @property
    def zero_blocks(self) -> int:
        """See `Port.zero_blocks`; counted when it is asked for, at least once in `POLL_SECONDS`."""
        done = self.done
        first, self._looked_at = max(self._looked_at, done - self._slots // 2), done
        fresh = 0
        for index in range(done - 1, first - 1, -1):
            if self._frames[index % self._slots].any():
                self._zero_blocks = 0
                break
            fresh += 1
        self._zero_blocks += fresh
        return self._zero_blocks

    def take(self) -> tuple[NDArray[np.float32], int]:
        """What has been recorded since the last call, mono `[frame]`, and how many frames are lost before it.

        It may be memory that is soon used again.
        """
        end = self.done
        first = max(self._taken, end - self._backlog)
        lost, self._taken = (first - self._taken) * self.format.block_frames, end
        for index in range(first, end):
            now, at_seconds = self._stamps[index % self._slots]
            if self.oldest_seconds < now - at_seconds < MAX_BLOCK_AGE_SECONDS:
                self.oldest_seconds = now - at_seconds
        at, count = first % self._slots, end - first
        sound = self._frames[at : at + count]
        if len(sound) < count:
            sound = np.concatenate((sound, self._frames[: count - len(sound)]))
        frames = sound.reshape(-1, self.format.channels)
        if self.format.channels == 1 or self._channel is not None:
            return frames[:, self._channel or 0], lost
        mono: NDArray[np.float32] = frames.mean(axis=1, dtype=np.float32)
        return mono, lost


class CaptureReader:
    """Reads a `Capture` at the pace of another clock, without waiting, without growing late.

    What a read leaves must be as old as blocks are when they come, and `KEEP_SECONDS` older, or the next one would run
    short. Where one did, nothing is given until there is enough, and so much more is kept from then on. Drift is met by
    reading up to 0.1 % faster or slower; far too much is left out if it stays. Without drift the samples come out as
    they are.
    """

    def __init__(self, capture: Capture) -> None:
        self._capture = capture
        self._rate_hz = capture.format.rate_hz
        self._line = DelayLine(2 * capture.backlog_frames)
        self._position = 0.0  # in the line
        self._captured = 0  # frames of the device that have gone by at the line's end
        self._fade = rise(round(RAMP_SECONDS * self._rate_hz))
        self._keep = Margin(*KEEP_STEPS)
        self._primed = False
        self._late = False  # something was left out because nobody read
        self._ratio = 1.0
        self._block_age = 0.0  # what `Capture.oldest_seconds` was in the last window
        self._left_age: float | None = None  # of the frame after a read, at the least in this window
        self._behind_since: float | None = None
        self._window_end = 0.0
        self.dropped_frames = 0
        """Frames that were recorded and left out, because they were not read in time."""

    @property
    def backlog_frames(self) -> float:
        """Frames that wait to be read, as of the last read."""
        return self._line.written - self._position

    @property
    def begun(self) -> bool:
        """Whether a block has come: before that the device has no clock."""
        return self._capture.stamp[0] > 0

    @property
    def next_seconds(self) -> float:
        """When the frame that the next read begins with was recorded, on the clock of `time.monotonic`."""
        return self._seconds(self._position)

    def clear(self) -> None:
        """Drop what waits."""
        self._collect()
        self._restart()

    def read(self, n: int) -> NDArray[np.float32]:
        """`n` frames, mono `[n]`, or none: silence until there are enough."""
        self._collect()
        now = self._capture.clock()
        if not self._primed and not self._prime(now, n):
            return np.empty(0, np.float32)
        if self.backlog_frames < n * self._ratio + BEFORE:
            self._keep.short(now)
            self._restart(keep_backlog=True)
            return np.empty(0, np.float32)
        out = self._draw(n)
        self._follow(now)
        if now - self.next_seconds <= self._wanted_age + JUMP_SECONDS:
            self._behind_since = None
        elif self._behind_since is None:
            self._behind_since = now
        elif now - self._behind_since >= PATIENCE_SECONDS:
            self._jump(now, out)
        return out

    def _seconds(self, position: float) -> float:
        """When the frame at a position of the line was recorded."""
        frames, seconds = self._capture.stamp
        return seconds - (frames - self._captured + self._line.written - position) / self._rate_hz

    def _place(self, seconds: float) -> float:
        """The whole position of the frame that was recorded then."""
        return float(round(self._position + (seconds - self.next_seconds) * self._rate_hz))

    @property
    def _wanted_age(self) -> float:
        """How old the frame after a read should be."""
        block_age = max(self._block_age, self._capture.oldest_seconds)
        # Half of what is kept at the most: a driver that was late once must not ask for more than there ever is.
        return min(
            block_age + self._keep.steps * KEEP_SECONDS, self._capture.backlog_frames / self._rate_hz / 2
        )

    def _prime(self, now: float, n: int) -> bool:
        """Begin where the read will leave the wanted age, if that is there."""
        if not self.begun:
            return False
        start = self._place(now - self._wanted_age - n / self._rate_hz)
        if start < self._position:
            return False
        if self._late:
            self.dropped_frames += int(start - self._position)
        self._position, self._primed, self._late = start, True, False
        return True

    def _draw(self, n: int) -> NDArray[np.float32]:
        parts = []
        for start in range(0, n, PIECE_FRAMES):
            count = min(PIECE_FRAMES, n - start)
            parts.append(self._line.read(self._position, count, self._ratio))
            self._position += count * self._ratio
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def _collect(self) -> None:
        pcm, lost = self._capture.take()
        if lost:
            self.dropped_frames += lost + int(self.backlog_frames)
            self._restart()
            self._late = True
        self._line.write(pcm)
        self._captured += lost + len(pcm)
        excess = self.backlog_frames - self._capture.backlog_frames
        if excess > 0:
            self.dropped_frames += int(excess)
            self._position += int(excess)

    def _restart(self, *, keep_backlog: bool = False) -> None:
        self._primed, self._late, self._ratio = False, False, 1.0
        self._left_age = self._behind_since = None
        if not keep_backlog:
            self._position = float(self._line.written)

    def _follow(self, now: float) -> None:
        """Judge by the worst of two seconds how fast to read in the next two."""
        age = now - self.next_seconds
        if self._left_age is None:
            self._left_age, self._window_end = age, now + WINDOW_SECONDS
        self._left_age = min(self._left_age, age)
        if now < self._window_end:
            return
        self._block_age, self._capture.oldest_seconds = self._capture.oldest_seconds, 0.0
        error = self._left_age - self._wanted_age
        slide = min(max(0.0, abs(error) - CALM_SECONDS) / SLIDE_SECONDS, SLIDE)
        self._ratio = 1 + (slide if error > 0 else -slide)
        self._keep.observe(now, (self._left_age - self._block_age) / KEEP_SECONDS)
        self._left_age = None

    def _jump(self, now: float, out: NDArray[np.float32]) -> None:
        """Leave out what is too much: the end of `out` is cross-faded into what follows."""
        self._behind_since = None
        target = self._place(now - self._wanted_age)
        fade = self._fade[: len(out)]
        self.dropped_frames += int(target - self._position)
        self._position = target
        there = self._line.read(target - len(fade), len(fade))
        out[-len(fade) :] += (there - out[-len(fade) :]) * fade
