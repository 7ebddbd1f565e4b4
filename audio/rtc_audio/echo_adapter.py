"""Any device around an echo canceller that wants blocks and a rate of its own."""

import math

import numpy as np

from .echo import EchoCanceller, Mono, check_blocks, frames_in
from .format import check_rate
from .resampler import StreamResampler


class AdaptedEchoCanceller:
    """Resamples both sides to `inner.rate_hz` and the result back, and cuts blocks of `block_frames` to fit.

    What is left has the bandwidth of the lower rate. Adds 2 to 5 ms where blocks are a multiple of the inner ones
    (None: as long as these), else an inner block more. Raises UnsupportedFormat for rates that cannot be converted, and
    if `block_frames` is not given and an inner block is no whole number of frames.
    """

    def __init__(self, inner: EchoCanceller, rate_hz: int, *, block_frames: int | None = None) -> None:
        self._inner = inner
        self.rate_hz = check_rate(rate_hz)
        self.block_frames = block_frames or frames_in(rate_hz, 1000 * inner.block_frames // inner.rate_hz)
        self._far_down = StreamResampler(rate_hz, inner.rate_hz)
        self._near_down = StreamResampler(rate_hz, inner.rate_hz)
        self._up = StreamResampler(inner.rate_hz, rate_hz)
        self._lead_in, self._lead_out = self._fill()
        lead = self._lead_in / inner.rate_hz + self._lead_out / rate_hz
        self.latency_seconds = inner.latency_seconds + lead
        self._empty()

    def _fill(self) -> tuple[int, int]:
        """Samples of silence to begin with, inside and at the end, so that no call ever lacks any."""
        expected, rest = divmod(self.block_frames * self.inner_rate_hz, self.rate_hz)
        if rest or expected % self._inner.block_frames:
            delays = self._near_down.delay_seconds + self._up.delay_seconds
            block_seconds = self._inner.block_frames / self.inner_rate_hz
            return 0, math.ceil((delays + block_seconds) * self.rate_hz) + 2
        # each call takes and gives whole blocks: only what the first one is short of is missing, always
        first = self._near_down.push(np.zeros(self.block_frames, np.float32))
        last = self._up.push(np.zeros(expected, np.float32))
        return expected - len(first), self.block_frames - len(last)

    def _empty(self) -> None:
        for resampler in (self._far_down, self._near_down, self._up):
            resampler.clear()
        self._far = self._near = np.zeros(self._lead_in, np.float32)
        self._out = np.zeros(self._lead_out, np.float32)

    @property
    def inner_rate_hz(self) -> int:
        """Sampling rate inside."""
        return self._inner.rate_hz

    @property
    def erle_db(self) -> float | None:
        """That of the canceller inside."""
        return self._inner.erle_db

    def process(self, far: Mono, near: Mono, /) -> Mono:
        """`near`, `latency_seconds` late, without the echo of `far`; float32 `[block_frames]`.

        Raises UnsupportedFormat for other shapes and dtypes.
        """
        far, near = check_blocks(far, near, self.block_frames)
        self._far = np.concatenate((self._far, self._far_down.push(far)))
        self._near = np.concatenate((self._near, self._near_down.push(near)))
        block = self._inner.block_frames
        while len(self._near) >= block:
            result = self._inner.process(self._far[:block], self._near[:block])
            self._far, self._near = self._far[block:], self._near[block:]
            self._out = np.concatenate((self._out, self._up.push(result)))
        n = self.block_frames
        out, self._out = self._out[:n], self._out[n:]
        return out

    def reset(self) -> None:
        """Forgets the room and the sound so far; the latency stays."""
        self._inner.reset()
        self._empty()
