"""Sound without its constant component, which cheap microphones add, and which would leak into all frequencies."""

import numpy as np

from .echo import Mono

AVERAGED_BLOCKS = 500  # ten seconds, of blocks of 20 ms


class Centre:
    """Takes the mean of the last blocks away, along a ramp from block to block."""

    def __init__(self, block_frames: int) -> None:
        self._average = np.full(block_frames, 1 / block_frames, np.float32)
        self._rise = np.linspace(0, 1, block_frames, dtype=np.float32)
        self.reset()

    def reset(self) -> None:
        """Forgets the mean."""
        self._mean, self._blocks = 0.0, 0

    def process(self, pcm: Mono) -> Mono:
        """A block of `block_frames`, centred; another array."""
        self._blocks = min(self._blocks + 1, AVERAGED_BLOCKS)
        change = (float(np.dot(pcm, self._average)) - self._mean) / self._blocks
        centred = pcm - np.float32(self._mean)
        centred -= np.float32(change) * self._rise
        self._mean += change
        return centred
