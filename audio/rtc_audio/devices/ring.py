"""Blocks of sound that two threads hand each other without a lock."""

import numpy as np

from ..ports import Pcm
from .types import StreamFormat


class BlockRing:
    """Memory for `count` blocks, allocated once and used in turn.

    For the event loop they are float32 `[frame, channel]`, for a driver's thread bytes, which are cheaper to move: cut
    beforehand, so that a block is one copy. Whoever writes a block counts it afterwards, with a counter that nobody
    else writes; storing an int is atomic.
    """

    def __init__(self, count: int, format: StreamFormat) -> None:
        self.frames = np.zeros((count, format.block_frames, format.channels), np.float32)
        """All blocks, `[block, frame, channel]`."""
        self.blocks: list[Pcm] = list(self.frames)
        self.memory = [block.data.cast("B") for block in self.blocks]
        """The same blocks."""
