"""A delay line that can be read between its samples: for bulk delays and for clocks that drift apart."""

import functools

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from .echo import Mono

TAPS, PHASES = 24, 1024  # a phase is wrong by 1/2048 of a sample at most: −56 dB at half the rate
BEFORE = TAPS // 2  # samples in front of the position that a kernel reaches
BEHIND = TAPS - BEFORE


class DelayLine:
    """The last `capacity` samples of a stream, read at fractional positions, which count from the first one written.

    Silence stands before the first and behind the last. Memory is fixed.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._buffer = np.zeros(2 * capacity, np.float32)
        self._windows = sliding_window_view(self._buffer, TAPS)
        self._fill = 0
        self.written = 0

    def write(self, pcm: Mono) -> None:
        """Appends samples, of which the last `capacity` stay."""
        self.written += len(pcm)
        pcm = pcm[-self._capacity :]
        if self._fill + len(pcm) > len(self._buffer):
            kept = self._buffer[self._fill - self._capacity : self._fill].copy()
            self._buffer[: self._capacity] = kept
            self._fill = self._capacity
        self._buffer[self._fill : self._fill + len(pcm)] = pcm
        self._fill += len(pcm)

    def clear(self) -> None:
        """Forgets the sound; positions go on."""
        self._buffer[:] = 0

    def read(self, position: float, n: int, ratio: float = 1.0) -> Mono:
        """`n` samples at position, position + ratio, …; `ratio` within 0.1 % of 1.

        The fraction hardly moves within a block, so the sound is interpolated at the fractions of its two ends and
        faded from one to the other.
        """
        whole = int(np.floor(position))
        fraction = position - whole
        end = fraction + n * (ratio - 1)
        if fraction == end == 0.0:
            return self._span(whole, n)
        begun, ended = (self._windows_from(whole - BEFORE + 1, n) @ _kernels(fraction, end).T).T
        out: Mono = begun + (ended - begun) * _fade(n)
        return out

    def _windows_from(self, start: int, n: int) -> NDArray[np.float32]:
        """`[n, TAPS]` that begin at the samples start … start + n − 1."""
        first = self._fill - self.written + start
        if first >= 0 and first + n + TAPS - 1 <= self._fill:
            return self._windows[first : first + n]
        return sliding_window_view(self._span(start, n + TAPS - 1), TAPS)

    def _span(self, start: int, n: int) -> Mono:
        """Samples start … start + n − 1."""
        first = self._fill - self.written + start
        if first >= 0 and first + n <= self._fill:
            return self._buffer[first : first + n].copy()
        out = np.zeros(n, np.float32)
        low, high = max(first, 0), min(first + n, self._fill)
        if low < high:
            out[low - first : high - first] = self._buffer[low:high]
        return out


def _kernels(*fractions: float) -> NDArray[np.float32]:
    """`[fraction, TAPS]` that interpolate at fractions of a sample, −0.5 to 1.5, behind the middle of a window."""
    return _bank()[[round((fraction + 0.5) * PHASES) for fraction in fractions]]


@functools.cache
def _bank() -> Mono:
    """`[2 * PHASES + 1, TAPS]`: Kaiser-windowed sinc for fractions of −0.5 to 1.5, every row of sum 1."""
    fraction = np.arange(2 * PHASES + 1)[:, None] / PHASES - 0.5
    distance = fraction - (np.arange(TAPS) - BEFORE + 1)
    inside = np.clip(1 - (distance / (TAPS / 2)) ** 2, 0, None)
    bank: NDArray[np.float64] = np.sinc(distance) * np.i0(6 * np.sqrt(inside))
    bank /= bank.sum(1, keepdims=True)
    return bank.astype(np.float32)


@functools.cache
def _fade(n: int) -> Mono:
    rising: Mono = np.arange(n, dtype=np.float32) / np.float32(n)
    return rising
