"""From the event loop to the loudspeaker: a ring kept filled a little ahead of the driver's thread, which plays it."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from ..levels import RAMP_SECONDS, rise
from ..ports import Pcm
from .port import Port
from .ring import SampleRing
from .types import StreamFormat

WRITTEN_BLOCKS = 64


class Render(Port):
    """The loudspeaker's port: plays what the ring has; where it has too little, fades out and counts.

    Sound begins and ends along ramps of 5 ms. What was really played, silence included, can be taken with its times.
    The ring holds frames as the device wants them, so that nothing is left to do with them on the driver's thread.
    """

    def __init__(
        self,
        format: StreamFormat,
        on_finished: Callable[[], None],
        *,
        capacity_seconds: float,
        on_played: Callable[[], None] | None = None,
    ) -> None:
        super().__init__(format, on_finished)
        self._on_played = on_played
        frames, channels = format.block_frames, format.channels
        self.ring = SampleRing(round(capacity_seconds * format.rate_hz), channels)
        self.heard = (0, 0.0)
        """A point on the loudspeaker's clock: frames of sound played until then, and when the next one sounds."""
        self.asked_at: float | None = None
        """When the driver asked for its latest block, on the clock of `time.monotonic`."""
        self.missing_frames = 0
        """Frames of silence for want of sound, the first 100 ms left out."""
        self.shortages = 0
        """Blocks that had such frames."""
        self.least_left: int | None = None
        """Frames that a block left in the ring, at the least; the event loop sets it back to None."""
        self._wide: Pcm = np.zeros((frames, channels), np.float32)
        self._up = rise(min(frames, round(RAMP_SECONDS * format.rate_hz)))[:, None]
        self._down = (1 - self._up).astype(np.float32)
        self._tail = np.zeros((len(self._up), channels), np.float32)
        self._last = np.zeros(
            channels, np.float32
        )  # the frame that sound ended with, and how much of its way is done
        self._fallen = len(self._down)
        self._sounding = False
        self._flush_to = 0  # the event loop's
        self._flushed_to = 0
        self._dropped = 0
        self._block_frames = frames
        self._block_seconds = format.block_seconds
        self._written: list[Pcm] = list(np.zeros((WRITTEN_BLOCKS, frames, channels), np.float32))
        self._written_bytes = [frames.data.cast("B") for frames in self._written]
        self._written_at = [0.0] * WRITTEN_BLOCKS
        self._written_put = self._written_taken = 0

    @property
    def lost_seconds(self) -> float:
        """See `Port.lost_seconds`; what the ring lacked too."""
        return super().lost_seconds + self.missing_frames / self.format.rate_hz

    # ---- on the event loop

    def put(self, mono: Pcm) -> None:
        """Append at most a block `[frame, 1]` to the ring, on the first two channels: a voice is in front."""
        wide = self._wide[: len(mono)]
        wide[:, :2] = mono
        self.ring.write(wide)

    def flush(self) -> None:
        """Fade out, then drop what waits now."""
        self._flush_to = self.ring.put

    def played_frames(self, now: float) -> float:
        """Frames of sound that have really sounded; what was dropped is not among them."""
        frames, seconds = self.heard
        return max(0.0, frames + min(0.0, now - seconds) * self.format.rate_hz)

    def waiting_seconds(self, now: float) -> float:
        """How long it takes until sound that is put into the ring now sounds."""
        return (self.ring.put - self._dropped - self.played_frames(now)) / self.format.rate_hz

    def take_written(self) -> list[tuple[NDArray[np.float32], float]]:
        """What was played since the last call: blocks, mono `[frame]`, and when each begins to sound."""
        end = self._written_put
        first = max(self._written_taken, end - WRITTEN_BLOCKS // 2)  # the others may be overwritten by now
        self._written_taken = end
        slots = [i % WRITTEN_BLOCKS for i in range(first, end)]
        return [(self._written[slot][:, 0].copy(), self._written_at[slot]) for slot in slots]

    # ---- on the driver's thread

    def exchange(self, block: memoryview, now: float, at_seconds: float) -> None:
        """Fill a block."""
        ring, slot = self.ring, self._written_put % WRITTEN_BLOCKS
        written, flush_to = self._written_bytes[slot], self._flush_to
        left = ring.put - ring.taken - self._block_frames
        if left >= 0 and self._sounding and flush_to == self._flushed_to:
            ring.read_bytes(block, written)
        else:
            if flush_to != self._flushed_to:
                self._flushed_to = flush_to
                self._cut_off(self._written[slot], flush_to)
            else:
                self._begin_or_end(self._written[slot], left)
            block[:] = written
        if self.least_left is None or left < self.least_left:
            self.least_left = max(0, left)
        self._written_at[slot] = at_seconds
        self._written_put += 1
        self.heard = (ring.taken - self._dropped, at_seconds + self._block_seconds)
        self.asked_at = now
        if self._on_played is not None:
            self._on_played()

    def _begin_or_end(self, frames: Pcm, left: int) -> None:
        """A block in which sound begins, ends, or is not there at all."""
        ring = self.ring
        count = min(len(frames), len(frames) + left)
        ring.read(frames[:count])
        if count and not self._sounding:
            part = self._up[:count]
            frames[: len(part)] *= part
            self._sounding = True
        if count < len(frames):
            self._end_at(frames, count)
            if self.settled and ring.put:
                self.missing_frames += len(frames) - count
                self.shortages += 1
        else:
            self._fall_from(frames, 0)

    def _cut_off(self, frames: Pcm, flush_to: int) -> None:
        """Fade out what comes next, which may be nothing, drop the rest."""
        ring = self.ring
        count = min(len(self._down), flush_to - ring.taken)
        ring.read(frames[:count])
        frames[:count] *= self._down[:count] if self._sounding else 0.0
        self._dropped += ring.skip_to(flush_to)
        self._end_at(frames, count)

    def _end_at(self, frames: Pcm, count: int) -> None:
        """No more sound after `count` frames."""
        if self._sounding:
            self._sounding, self._fallen = False, 0
            before = self._written[(self._written_put - 1) % WRITTEN_BLOCKS]
            self._last[:] = frames[count - 1] if count else before[-1]
        frames[count:] = 0.0
        self._fall_from(frames, count)

    def _fall_from(self, frames: Pcm, start: int) -> None:
        """Let the frame that sound ended with go on its way down, which may take two blocks."""
        if self._fallen < len(self._down):
            part = self._down[self._fallen : self._fallen + len(frames) - start]
            tail = self._tail[: len(part)]
            np.multiply(part, self._last, out=tail)
            frames[start : start + len(part)] += tail
            self._fallen += len(part)
