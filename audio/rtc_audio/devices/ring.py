"""Frames handed from one thread to another without a lock."""

import numpy as np

from ..ports import Pcm


class SampleRing:
    """A single-producer, single-consumer ring of float32 `[frame, channel]`, allocated once.

    Each side writes only its own counter: `put` belongs to the producer, `taken` to the consumer. Storing an int is
    atomic, and the frames are copied before the counter says so. Nothing here allocates sound. A driver's thread moves
    bytes, which is cheaper.
    """

    def __init__(self, capacity_frames: int, channels: int) -> None:
        self.capacity_frames = capacity_frames
        self._frames: Pcm = np.zeros((capacity_frames, channels), np.float32)
        self._memory = self._frames.data.cast("B")
        self._frame_bytes = 4 * channels
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

    def write_bytes(self, block: memoryview) -> None:
        """The same of whole frames as they lie in memory."""
        memory, size = self._memory, len(block)
        at = self.put % self.capacity_frames * self._frame_bytes
        first = len(memory) - at
        if size <= first:
            memory[at : at + size] = block
        else:
            memory[at:] = block[:first]
            memory[: size - first] = block[first:]
        self.put += size // self._frame_bytes

    def read(self, out: Pcm) -> None:
        """Take as many frames as `out` has room for, at most `available`."""
        at, n = self.taken % self.capacity_frames, len(out)
        first = min(n, self.capacity_frames - at)
        out[:first] = self._frames[at : at + first]
        if first < n:
            out[first:] = self._frames[: n - first]
        self.taken += n

    def read_bytes(self, out: memoryview, copy: memoryview) -> None:
        """The same of whole frames as they lie in memory, twice."""
        memory, size = self._memory, len(out)
        at = self.taken % self.capacity_frames * self._frame_bytes
        first = len(memory) - at
        if size <= first:
            out[:] = copy[:] = memory[at : at + size]
        else:
            out[:first] = copy[:first] = memory[at:]
            out[first:] = copy[first:] = memory[: size - first]
        self.taken += size // self._frame_bytes

    def skip_to(self, position: int) -> int:
        """Leave out what was written before `position`; returns how many frames that was. The consumer's."""
        skipped = max(0, min(position, self.put) - self.taken)
        self.taken += skipped
        return skipped
