"""Sources that make or pass on sound: a tone, silence, what an application pushes."""

import numpy as np
from numpy.typing import NDArray

from .errors import UnsupportedFormat
from .fifo import BlockFifo
from .format import check_channels, check_rate, to_float32
from .ports import Pcm


class ToneSource:
    """A sine of `hz` at a peak level of `level_dbfs`, mono; ends after `seconds`, never if that is None."""

    channels = 1

    def __init__(
        self, hz: float = 440.0, level_dbfs: float = -20.0, rate_hz: int = 48000, seconds: float | None = None
    ) -> None:
        self.rate_hz = check_rate(rate_hz)
        if not 0 < hz < rate_hz / 2:
            raise UnsupportedFormat(f"a tone of {hz:g} Hz at {rate_hz} Hz: need 0 < hz < {rate_hz / 2:g}")
        if not level_dbfs <= 0:
            raise UnsupportedFormat(f"level_dbfs={level_dbfs:g}: need at most 0")
        if seconds is not None and not seconds >= 0:
            raise ValueError(f"seconds={seconds:g}: need at least 0")
        self._cycles_per_frame = hz / rate_hz
        self._amplitude = 10 ** (level_dbfs / 20)
        self._length = None if seconds is None else round(seconds * rate_hz)
        self._position = 0

    @property
    def ended(self) -> bool:
        """True after the last frame, if there is a last one."""
        return self._length is not None and self._position >= self._length

    async def start(self) -> None:
        """Nothing to prepare."""

    def read(self, n: int, /) -> Pcm:
        """The next n frames `[n, 1]`, fewer at the end."""
        if self._length is not None:
            n = min(n, self._length - self._position)
        cycles = (self._position + np.arange(n)) * self._cycles_per_frame
        self._position += n
        tone: NDArray[np.float64] = np.sin(2 * np.pi * (cycles % 1.0)) * self._amplitude
        return tone.astype(np.float32)[:, None]

    async def aclose(self) -> None:
        """Nothing to release."""


class SilenceSource:
    """Silence, mono, for ever: a call without a voice of its own."""

    channels = 1
    ended = False

    def __init__(self, rate_hz: int = 48000) -> None:
        self.rate_hz = check_rate(rate_hz)

    async def start(self) -> None:
        """Nothing to prepare."""

    def read(self, n: int, /) -> Pcm:
        """n frames of zeros `[n, 1]`."""
        return np.zeros((n, 1), np.float32)

    async def aclose(self) -> None:
        """Nothing to release."""


class PushSource:
    """Sound that the application pushes, as speech synthesis or an own capture makes it; bounded.

    `live=False` (made in advance): what is pushed before the call begins is spoken when it begins.
    `live=True` (happens now): what is pushed before the call begins is dropped when it begins.
    Mute drops the backlog of both. `push` may be called from one other thread; all else from the event loop.
    """

    def __init__(
        self, rate_hz: int, channels: int = 1, *, capacity_seconds: float = 10.0, live: bool = False
    ) -> None:
        self.rate_hz = check_rate(rate_hz)
        if not capacity_seconds * rate_hz >= 1:
            raise ValueError(f"capacity_seconds={capacity_seconds:g}: need room for at least one frame")
        self.channels = check_channels(channels)
        self.live = live
        self.dropped_frames = 0
        """Frames that `push` was given and had no room for."""
        self._capacity = int(capacity_seconds * rate_hz)
        self._fifo = BlockFifo(channels)
        self._ending = False

    @property
    def ended(self) -> bool:
        """True once `end` was called and everything pushed has been read."""
        return self._ending and self._fifo.frames == 0

    @property
    def buffered_seconds(self) -> float:
        """How much waits to be read."""
        return self._fifo.frames / self.rate_hz

    def push(self, pcm: NDArray[np.float32] | NDArray[np.int16]) -> int:
        """Queue sound, float32 or int16, `[frame]` (mono) or `[frame, channel]`; returns how many frames it took.

        The array is copied. What does not fit is not taken and counted in `dropped_frames`.
        Raises UnsupportedFormat for another dtype, shape or channel count, and ValueError after `end`.
        """
        if self._ending:
            raise ValueError("push after end(): make a new PushSource")
        block = to_float32(pcm)
        if block.shape[1] != self.channels:
            raise UnsupportedFormat(f"pushed {block.shape[1]} channels into a source of {self.channels}")
        taken = max(0, min(len(block), self._capacity - self._fifo.frames))
        self._fifo.put(block[:taken].copy())
        self.dropped_frames += len(block) - taken
        return taken

    def end(self) -> None:
        """Say that nothing more will be pushed; `ended` follows when the rest has been read."""
        self._ending = True

    def clear(self) -> None:
        """Drop what waits to be read."""
        self._fifo.clear()

    async def start(self) -> None:
        """Nothing to prepare: pushing works before and after."""

    def read(self, n: int, /) -> Pcm:
        """Up to n frames `[n, channels]` of what was pushed."""
        return self._fifo.take(n)

    async def aclose(self) -> None:
        """Drop what waits; pushing goes on to work, for the next call."""
        self.clear()
