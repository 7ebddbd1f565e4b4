"""Streaming sample-rate conversion in numpy: one or a few small matrix products per chunk (`kernels`, `runs`).

OpenBLAS spins a second thread on products of this size; `OPENBLAS_NUM_THREADS=1` halves the CPU time of a process.

The resampler does not look at values: NaN and infinity are replaced at the border of a source (`Uplink`).
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import UnsupportedFormat
from .format import check_channels, check_rate
from .kernels import Quality, kernel
from .ports import Pcm, Pull
from .runs import Compute, RunStream


class StreamResampler(RunStream):
    """Converts a stream from `rate_in` to `rate_out`, chunk by chunk, with a constant delay.

    quality: "voice" (alias and images ≤ −84 dB from 1.1 × the lower Nyquist frequency up, 0.8 ms at 24 ↔ 48 kHz, flat
    within 0.08 dB up to 0.8 ×), "hq" (−100 dB, 1.9 ms, 0.002 dB, for music), "fast" (−66 dB, 0.5 ms, 0.3 dB). dtype:
    float32 or int16 (rounded, saturated), in and out. The sum of all outputs, `flush` included, is exactly
    ceil(inputs * rate_out / rate_in) frames, and what comes out does not depend on how the input is cut (within
    1e-6). Equal rates pass through without delay.

    Raises UnsupportedFormat for rates that are not positive integers or share no useful divisor, for an unknown
    quality, and for other dtypes and shapes.
    """

    def __init__(
        self,
        rate_in: int,
        rate_out: int,
        quality: Quality = "voice",
        channels: int = 1,
        dtype: type[np.float32] | type[np.int16] = np.float32,
    ) -> None:
        self.rate_in = check_rate(rate_in)
        self.rate_out = check_rate(rate_out)
        self.channels = check_channels(channels)
        self._dtype = np.dtype(dtype)
        if self._dtype not in (np.float32, np.int16):
            raise UnsupportedFormat(f"dtype {self._dtype}: need float32 or int16")
        super().__init__(kernel(rate_in, rate_out, quality), channels)
        self._through = rate_in == rate_out
        self._ndim = 1 if channels == 1 else 2
        self.delay_seconds = 0.0 if self._through else self._kernel.half / rate_in
        """Time from a frame's arrival to the output that it is the centre of; the same for every frame."""

    def push(self, x: NDArray[Any]) -> NDArray[Any]:
        """The next frames, `[frame]` (mono) or `[frame, channel]`; returns what is complete, of the same rank."""
        plan = self._state.get(x.shape) if x.dtype is self._dtype else None
        if plan is None:
            return self._push_unprepared(x)
        slot, self._state, compute, move_to, move_from, passed = plan
        slot[...] = x
        y = compute()
        if move_to is not None:
            move_to[...] = move_from
            if passed is not None:
                passed[...] = 0.0
        return y

    def flush(self) -> NDArray[Any]:
        """The rest of the stream, of the rank that was pushed; the next push begins a new stream."""
        frames = 0 if self._through else self._kernel.half
        rest = self.push(np.zeros(frames if self._ndim == 1 else (frames, self.channels), self._dtype))
        self.clear()
        return rest

    def frames_needed(self, n: int) -> int:
        """The smallest number of input frames after which `push` returns at least n frames."""
        return max(n, 0) if self._through else super().frames_needed(n)

    def _push_unprepared(self, x: NDArray[Any]) -> NDArray[Any]:
        """Refuse what is wrong, cut what is long, prepare a plan for the rest and push again."""
        if x.dtype != self._dtype:
            raise UnsupportedFormat(f"{x.dtype} samples in a resampler for {self._dtype}")
        if x.shape[1:] != (self.channels,) and (self.channels > 1 or x.ndim != 1):
            raise UnsupportedFormat(
                f"samples of shape {list(x.shape)} in a resampler for {self.channels} channels"
            )
        self._ndim = x.ndim
        if self._through:
            return x.copy()
        x = x.view(self._dtype)  # an equal dtype that is another object
        if len(x) > self._max_piece:
            cuts = range(0, len(x), self._max_piece)
            return np.concatenate([self.push(x[at : at + self._max_piece]) for at in cuts])
        self._make_plan(x.shape)
        return self.push(x)

    def _operation(self, count: int, ndim: int) -> Compute:
        compute = super()._operation(count, ndim)
        return compute if self._dtype == np.float32 else lambda: _saturate(compute())


class PullResampler:
    """Gives exactly as many frames at `rate_out` as are asked for, drawing what it needs at `rate_in`.

    `pull_in(m)` must return exactly m frames `[m, channel]`. Equal rates pass straight through.
    """

    def __init__(
        self, pull_in: Pull, rate_in: int, rate_out: int, quality: Quality = "voice", channels: int = 1
    ) -> None:
        self._pull_in = pull_in
        self._resampler = StreamResampler(rate_in, rate_out, quality, channels)
        self._rest: Pcm = np.empty((0, channels), np.float32)
        self.delay_seconds = self._resampler.delay_seconds

    def pull(self, n: int) -> Pcm:
        """Exactly n frames `[n, channel]`."""
        if self._resampler.delay_seconds == 0.0:
            return self._pull_in(n)
        needed = self._resampler.frames_needed(n - len(self._rest))
        if needed:
            fresh = self._resampler.push(self._pull_in(needed))
            self._rest = np.concatenate((self._rest, fresh)) if len(self._rest) else fresh
        out, self._rest = self._rest[:n], self._rest[n:]
        return out

    def clear(self) -> None:
        """Forget what was drawn."""
        self._resampler.clear()
        self._rest = self._rest[:0]


def _saturate(y: Pcm) -> NDArray[np.int16]:
    np.rint(y, out=y)
    np.clip(y, -32768.0, 32767.0, out=y)
    return y.astype(np.int16)
