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
    """

    def __init__(
        self,
        format: StreamFormat,
        on_finished: Callable[[], None],
        *,
        on_played: Callable[[], None],
        capacity_seconds: float,
    ) -> None:
        super().__init__(format, on_finished)
        frames = format.block_frames
        self.ring = SampleRing(round(capacity_seconds * format.rate_hz), 1)
        self.heard = (0, 0.0)
        """A point on the loudspeaker's clock: frames of sound played until then, and when the next one sounds."""
        self.missing_frames = 0
        """Frames of silence for want of sound, the first 100 ms left out."""
        self.shortages = 0
        """Blocks that had such frames."""
        self.least_left: int | None = None
        """Frames that a block left in the ring, at the least; the event loop sets it back to None."""
        self._on_played = on_played
        self._mono: Pcm = np.zeros((frames, 1), np.float32)
        self._up = rise(min(frames, round(RAMP_SECONDS * format.rate_hz)))
        self._down = (1 - self._up).astype(np.float32)
        self._tail = np.zeros(len(self._up), np.float32)
        self._last = 0.0  # the sample that sound ended with, and how much of its way down is done
        self._fallen = len(self._down)
        self._sounding = False
        self._flush_to = 0
        self._dropped = 0
        self._surround = format.channels > 2
        self._block_seconds = format.block_seconds
        self._written = np.zeros((WRITTEN_BLOCKS, frames, 1), np.float32)
        self._written_at = np.zeros(WRITTEN_BLOCKS)
        self._written_put = self._written_taken = 0

    @property
    def lost_seconds(self) -> float:
        """See `Port.lost_seconds`; what the ring lacked too."""
        return super().lost_seconds + self.missing_frames / self.format.rate_hz

    # ---- on the event loop

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
        return [(self._written[slot, :, 0].copy(), float(self._written_at[slot])) for slot in slots]

    # ---- on the driver's thread

    def exchange(self, block: Pcm, at_seconds: float) -> None:
        """Fill a block."""
        ring, mono = self.ring, self._mono
        left = ring.put - ring.taken - len(mono)
        if self._flush_to > ring.taken:
            self._cut_off()
        elif left < 0 or not self._sounding:
            self._begin_or_end(left)
        else:
            ring.read(mono)
        if self.least_left is None or left < self.least_left:
            self.least_left = max(0, left)
        if self._surround:  # where a voice does not come from
            block[:, 2:] = 0.0
            block = block[:, :2]
        block[...] = mono
        slot = self._written_put % WRITTEN_BLOCKS
        self._written[slot] = mono
        self._written_at[slot] = at_seconds
        self._written_put += 1
        self.heard = (ring.taken - self._dropped, at_seconds + self._block_seconds)
        self._on_played()

    def _begin_or_end(self, left: int) -> None:
        """A block in which sound begins, ends, or is not there at all."""
        ring, mono = self.ring, self._mono
        count = min(len(mono), len(mono) + left)
        ring.read(mono[:count])
        if count and not self._sounding:
            part = self._up[:count]
            mono[: len(part), 0] *= part
            self._sounding = True
        if count < len(mono):
            self._end_at(count)
            if self.settled and ring.put:
                self.missing_frames += len(mono) - count
                self.shortages += 1
        else:
            self._fall_from(0)

    def _cut_off(self) -> None:
        """Fade out what comes next, drop the rest."""
        ring, mono = self.ring, self._mono
        count = min(len(self._down), self._flush_to - ring.taken)
        ring.read(mono[:count])
        mono[:count, 0] *= self._down[:count] if self._sounding else 0.0
        self._dropped += ring.skip_to(self._flush_to)
        self._end_at(count)

    def _end_at(self, count: int) -> None:
        """No more sound after `count` frames."""
        if self._sounding:
            self._sounding, self._fallen = False, 0
            self._last = self._mono.item(count - 1)  # with none, it is the last one of the block before
        self._mono[count:] = 0.0
        self._fall_from(count)

    def _fall_from(self, start: int) -> None:
        """Let the sample that sound ended with go on its way down, which may take two blocks."""
        if self._fallen < len(self._down):
            part = self._down[self._fallen : self._fallen + len(self._mono) - start]
            tail = self._tail[: len(part)]
            np.multiply(part, self._last, out=tail)
            self._mono[start : start + len(part), 0] += tail
            self._fallen += len(part)
