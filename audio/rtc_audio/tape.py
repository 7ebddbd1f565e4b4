"""The samples around a playhead, in one array that is neither joined nor split while it runs."""

import math

import numpy as np
from numpy.typing import NDArray

from .interpolation import REACH, interpolate

Mono = NDArray[np.float32]


class Tape:
    """`past` has been played, `ready` waits to be: views that hold until the next call that changes the tape.

    The playhead may stand between two samples: then `past` ends and `ready` begins at the first of both.
    """

    def __init__(self, past: int, room: int) -> None:
        self._samples = np.zeros(past + room, np.float32)
        self._past = self._head = self._end = past
        self.fraction = 0.0
        """Of a sample that the playhead is behind the first that is ready."""

    def __len__(self) -> int:
        """Samples that are ready."""
        return self._end - self._head

    @property
    def ready(self) -> Mono:
        return self._samples[self._head : self._end]

    @property
    def past(self) -> Mono:
        return self._samples[self._head - self._past : self._head]

    @property
    def context(self) -> Mono:
        """The past, then what is ready."""
        return self._samples[self._head - self._past : self._end]

    def append(self, pcm: Mono) -> None:
        """More to be played."""
        if self._end + len(pcm) > len(self._samples):
            self._make_room(len(pcm))
        self._samples[self._end : self._end + len(pcm)] = pcm
        self._end += len(pcm)

    def reach(self, count: int, extra: float = 0.0) -> int:
        """Samples that have to be ready for `take`."""
        if not self.fraction and not extra:
            return count
        return count + math.floor(self.fraction + extra) + 1 + REACH

    def take(self, count: int, extra: float = 0.0) -> Mono:
        """Plays `count + extra` samples in the time of `count`; silence where they are not ready."""
        if (short := self.reach(count, extra) - len(self)) > 0:
            self.append(np.zeros(short, np.float32))
        if not self.fraction and not extra:
            pcm = self._samples[self._head : self._head + count].copy()
        else:
            pcm = interpolate(self._samples, self._head + self.fraction, extra, count)
        whole = math.floor(self.fraction + extra)
        self._head, self.fraction = self._head + count + whole, self.fraction + extra - whole
        return pcm

    def replace(self, pcm: Mono) -> None:
        """Other samples instead of those that are ready."""
        self._end = self._head
        self.append(pcm)

    def _make_room(self, count: int) -> None:
        """Moves what is still needed to the front; allocates only for more than ever before."""
        kept = self.context.copy()
        needed = len(kept) + count
        if needed > len(self._samples):
            self._samples = np.zeros(2 * needed, np.float32)
        self._samples[: len(kept)] = kept
        self._head, self._end = self._past, len(kept)
