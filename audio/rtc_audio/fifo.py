"""Blocks of sound waiting in order.

One thread may put while one other takes: each side writes only its own counter, and the deque does the rest.
"""

from collections import deque

import numpy as np

from .ports import Pcm


class BlockFifo:
    """Frames in, frames out, in any sizes; the owner sets the bound by looking at `frames` before `put`."""

    def __init__(self, channels: int) -> None:
        self.channels = channels
        self._blocks: deque[Pcm] = deque()
        self._head = 0  # frames of the first block that are gone already
        self._put = 0
        self._taken = 0

    @property
    def frames(self) -> int:
        """How many frames wait."""
        return self._put - self._taken

    @property
    def taken(self) -> int:
        """How many frames have left, cleared ones included."""
        return self._taken

    def put(self, block: Pcm) -> None:
        """Append a block `[frame, channel]`, which the fifo owns from now on."""
        if len(block):
            self._blocks.append(block)
            self._put += len(block)

    def take(self, n: int) -> Pcm:
        """The first n frames, or all there are."""
        wanted = min(n, self.frames)
        parts: list[Pcm] = []
        missing = wanted
        while missing > 0:
            block = self._blocks[0]
            part = block[self._head : self._head + missing]
            parts.append(part)
            missing -= len(part)
            self._head += len(part)
            if self._head == len(block):
                self._blocks.popleft()
                self._head = 0
        self._taken += wanted
        if len(parts) == 1:
            return parts[0]
        return np.concatenate(parts) if parts else np.empty((0, self.channels), np.float32)

    def clear(self) -> int:
        """Drop what waits; returns how many frames that was. Called by the side that takes."""
        return len(self.take(self.frames))
