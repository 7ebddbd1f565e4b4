"""Any device around an echo canceller that wants 10 ms at a rate of its own."""

import math

import numpy as np

from .echo import EchoCanceller, Mono, block_frames, check_blocks
from .format import check_rate
from .resampler import StreamResampler


class AdaptedEchoCanceller:
    """Resamples both sides to `inner.rate_hz` and the result back, and cuts blocks of `frames` (None: 10 ms) to fit.

    What is left has the bandwidth of the lower rate. Adds 2 to 5 ms where `frames` are a multiple of 10 ms, else 10 ms
    more. Raises UnsupportedFormat for rates that cannot be converted, and if 10 ms are no whole number of frames and
    `frames` is not given.
    """

    def __init__(self, inner: EchoCanceller, rate_hz: int, *, frames: int | None = None) -> None:
        self._inner = inner
        self.rate_hz = check_rate(rate_hz)
        self._frames = frames or block_frames(rate_hz)
        self._block = block_frames(inner.rate_hz)
        self._far_down = StreamResampler(rate_hz, inner.rate_hz)
        self._near_down = StreamResampler(rate_hz, inner.rate_hz)
        self._up = StreamResampler(inner.rate_hz, rate_hz)
        self._lead_in, self._lead_out = self._fill()
        lead = self._lead_in / inner.rate_hz + self._lead_out / rate_hz
        self.latency_seconds = inner.latency_seconds + lead
        self._empty()

    def _fill(self) -> tuple[int, int]:
        """Samples of silence to begin with, inside and at the end, so that no call ever lacks any."""
        if self._frames * 100 % self.rate_hz:
            delays = self._near_down.delay_seconds + self._up.delay_seconds
            return 0, math.ceil((delays + 0.01) * self.rate_hz) + 2
        # each call takes and gives whole blocks: only what the first one is short of is missing, always
        expected = self._frames * self.inner_rate_hz // self.rate_hz
        first = self._near_down.push(np.zeros(self._frames, np.float32))
        last = self._up.push(np.zeros(expected, np.float32))
        return expected - len(first), self._frames - len(last)

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
        """`near`, `latency_seconds` late, without the echo of `far`; float32 `[frames]`.

        Raises UnsupportedFormat for other shapes and dtypes.
        """
        far, near = check_blocks(far, near, self._frames)
        self._far = np.concatenate((self._far, self._far_down.push(far)))
        self._near = np.concatenate((self._near, self._near_down.push(near)))
        while len(self._near) >= self._block:
            result = self._inner.process(self._far[: self._block], self._near[: self._block])
            self._far, self._near = self._far[self._block :], self._near[self._block :]
            self._out = np.concatenate((self._out, self._up.push(result)))
        out, self._out = self._out[: self._frames], self._out[self._frames :]
        return out

    def reset(self) -> None:
        """Forgets the room and the sound so far; the latency stays."""
        self._inner.reset()
        self._empty()
