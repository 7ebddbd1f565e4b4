"""Frames handed from one thread to another without a lock."""

import numpy as np

from ..ports import Pcm


class SampleRing:
    """A single-producer, single-consumer ring of `[frame, channel]`, allocated once.

    Each side writes only its own counter: `put` belongs to the producer, `taken` to the consumer. Storing an int is
    atomic, and the frames are copied before the counter says so. Nothing here allocates sound.
    """

    def __init__(self, capacity_frames: int, channels: int) -> None:
        self.capacity_frames = capacity_frames
        self._frames: Pcm = np.zeros((capacity_frames, channels), np.float32)
        self.put = 0
        """Frames written since the beginning."""
        self.taken = 0
        """Frames read or skipped since the beginning."""

    @property
    def available(self) -> int:
        """Frames that wait."""
        return self.put - self.taken

    @property
    def free(self) -> int:
        """Frames that fit."""
        return self.capacity_frames - self.available

    def write(self, block: Pcm) -> None:
        """Append a block, at most `free` frames unless the consumer is `overrun` on purpose."""
        at, n = self.put % self.capacity_frames, len(block)
        first = min(n, self.capacity_frames - at)
        self._frames[at : at + first] = block[:first]
        if first < n:
            self._frames[: n - first] = block[first:]
        self.put += n

    def read(self, out: Pcm) -> None:
        """Take as many frames as `out` has room for, at most `available`."""
        at, n = self.taken % self.capacity_frames, len(out)
        first = min(n, self.capacity_frames - at)
        out[:first] = self._frames[at : at + first]
        if first < n:
            out[first:] = self._frames[: n - first]
        self.taken += n

    def skip_to(self, position: int) -> int:
        """Leave out what was written before `position`; returns how many frames that was. The consumer's."""
        skipped = max(0, min(position, self.put) - self.taken)
        self.taken += skipped
        return skipped
