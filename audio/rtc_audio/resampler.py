"""Streaming sample-rate conversion in numpy: one or a few small matrix products per chunk.

All runs of a chunk (`kernels`) are rows of one overlapping view of the input, so that a chunk is one product. Slices,
views and scratch for a state and a chunk length are made once and kept: with constant chunks a call is five numpy
operations. OpenBLAS spins a second thread on such products; `OPENBLAS_NUM_THREADS=1` halves the CPU time.

The resampler does not look at values: NaN and infinity are replaced at the border of a source (`Uplink`).
"""

import sys
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

from .errors import UnsupportedFormat
from .format import check_channels, check_rate
from .kernels import MAX_RUNS, Kernel, Quality, aligned_zeros, kernel
from .ports import Pcm, Pull

_MAX_PIECE = 4096  # frames that go through the matrix at once; bounds all memory
_MAX_PLANS = 256


class StreamResampler:
    """Converts a stream from `rate_in` to `rate_out`, chunk by chunk, with a constant delay.

    quality: "voice" (alias and images ≤ −84 dB from 1.1 × the lower Nyquist frequency up, 0.9 ms at 24 ↔ 48 kHz),
    "hq" (−100 dB, 2.3 ms, for music), "fast" (−66 dB, 0.6 ms). dtype: float32 or int16 (rounded, saturated), in and
    out. The sum of all outputs, `flush` included, is exactly ceil(inputs * rate_out / rate_in) frames, and what
    comes out does not depend on how the input is cut (within 1e-6). Equal rates pass through without delay.

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
        self._frame_shape = () if channels == 1 else (channels,)
        self._column = False  # mono comes as [frame, 1]
        design = kernel(rate_in, rate_out, quality)
        self._core: _Core = _Through() if rate_in == rate_out else _Runs(design, channels)
        self._push = self._core.push  # bound once: a call costs a few µs in all
        self._max_piece = self._core.max_piece
        self._int16 = self._dtype == np.int16
        self.delay_seconds = 0.0 if rate_in == rate_out else design.half / rate_in
        """Time from a frame's arrival to the output that it is the centre of; the same for every frame."""

    def push(self, x: NDArray[Any]) -> NDArray[Any]:
        """The next frames, `[frame]` (mono) or `[frame, channel]`; returns what is complete, of the same rank."""
        if x.dtype is self._dtype and x.shape[1:] == self._frame_shape and len(x) <= self._max_piece:
            y = self._push(x)
            return _saturate(y) if self._int16 else y
        return self._push_other(x)

    def flush(self) -> NDArray[Any]:
        """The rest of the stream, of the rank that was pushed; the next push begins a new stream."""
        rest = self.push(np.zeros((self._core.half, *self._frame_shape), self._dtype))
        self._core.clear()
        return rest[:, None] if self._column else rest

    def clear(self) -> None:
        """Forget the stream; the next push begins a new one."""
        self._core.clear()

    def frames_needed(self, n: int) -> int:
        """The smallest number of input frames after which `push` returns at least n frames."""
        return self._core.frames_needed(n) if n > 0 else 0

    def _push_other(self, x: NDArray[Any]) -> NDArray[Any]:
        """What is not a plain chunk: long ones, mono as `[frame, 1]`, and what has to be refused."""
        if x.dtype != self._dtype:
            raise UnsupportedFormat(f"{x.dtype} samples in a resampler for {self._dtype}")
        if self.channels == 1 and x.shape[1:] == (1,):
            self._column = True
            return self.push(x[:, 0])[:, None]
        if x.shape[1:] != self._frame_shape:
            raise UnsupportedFormat(
                f"samples of shape {list(x.shape)} in a resampler for {self.channels} channels"
            )
        step = self._max_piece
        pieces = [self._core.push(x[at : at + step]) for at in range(0, max(1, len(x)), step)]
        whole = np.concatenate(pieces)
        return _saturate(whole) if self._int16 else whole


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


class _Core(Protocol):
    """The stream behind a StreamResampler: float32 or int16 in, float32 out, `[frame]` for mono."""

    half: int
    max_piece: int

    def push(self, x: NDArray[Any]) -> Pcm: ...
    def frames_needed(self, n: int) -> int: ...
    def clear(self) -> None: ...


class _Through:
    """Equal rates."""

    half = 0
    max_piece = sys.maxsize

    def push(self, x: NDArray[Any]) -> Pcm:
        return x.astype(np.float32)

    def frames_needed(self, n: int) -> int:
        return n

    def clear(self) -> None:
        pass


class _Plan(NamedTuple):
    """All that one push needs in a given state, for a given chunk length; the views are made once."""

    slot: NDArray[np.float32]  # where the chunk goes
    next_state: "_State"
    gather: Callable[[], object] | None  # copies the windows of all runs; None: no output is complete yet
    multiply: Callable[[], object]
    output: NDArray[np.float32]
    move_to: NDArray[np.float32] | None  # what is still needed moves to the front; None: nothing is finished
    move_from: NDArray[np.float32] | None


class _State(dict[int, _Plan]):
    """Where a stream stands between two chunks, with the plans by chunk length made so far."""

    def __init__(self, fill: int, run: int, offset: int) -> None:
        super().__init__()
        self.fill = fill  # inputs in the buffer
        self.run = run  # the run that the buffer begins with, modulo the runs of the kernel
        self.offset = offset  # outputs of that run that have gone out already


class _Runs:
    """The stream for unequal rates."""

    def __init__(self, design: Kernel, channels: int) -> None:
        self.half = design.half
        self._kernel = design
        self._channels = channels
        per_product = _MAX_PIECE if design.runs == 1 else design.start(MAX_RUNS - 2) - 1
        self.max_piece = max(1, min(_MAX_PIECE, per_product))
        # After a push fewer inputs than two windows stay; a product may read two runs beyond the end.
        self._length = self.max_piece + 4 * design.window + 2 * design.start(1)
        self._buffer = aligned_zeros(channels * self._length).reshape(channels, self._length)
        self._scratch = self._product = aligned_zeros(0)
        self._plans = 0
        self._states: dict[tuple[int, int, int], _State] = {}
        self.clear()

    def clear(self) -> None:
        self._buffer[...] = 0.0
        self._state = self._state_at(self.half - 1, 0, 0)  # a stream begins with zeros

    def frames_needed(self, n: int) -> int:
        k, state = self._kernel, self._state
        last = (k.phase(state.run) + (state.offset + n - 1) * k.down) // k.up
        return max(0, last + 2 * k.half - state.fill)

    def push(self, x: NDArray[Any]) -> Pcm:
        plan = self._state.get(len(x))
        if plan is None:
            plan = self._plan(len(x))
        slot, self._state, gather, multiply, output, move_to, move_from = plan
        slot[...] = x
        if gather is None:
            return output.copy()
        gather()
        multiply()
        y = output.copy()
        if move_to is not None:
            move_to[...] = move_from  # numpy handles the overlap
        return y

    def _state_at(self, fill: int, run: int, offset: int) -> _State:
        key = (fill, run % self._kernel.runs, offset)
        if key not in self._states:
            self._states[key] = _State(*key)
        return self._states[key]

    def _plan(self, count: int) -> _Plan:
        k = self._kernel
        if self._plans >= _MAX_PLANS:
            self._forget_plans()
        fill, run, offset = self._state.fill, self._state.run, self._state.offset
        end = fill + count
        # Outputs whose whole window is there, counted from the first of the first run. A run is computed whole,
        # and columns whose window is incomplete are not handed out.
        complete = max(offset, -((k.phase(run) - (end - 2 * k.half + 1) * k.up) // k.down))
        finished = complete // k.run
        shift = k.start(run + finished) - k.start(run)
        gather, multiply, product = self._operations(run, -(-complete // k.run))
        plan = _Plan(
            self._layout(self._buffer[:, fill:end]),
            self._state_at(end - shift, run + finished, complete - finished * k.run),
            gather if complete > offset else None,
            multiply,
            self._layout(product.reshape(self._channels, -1)[:, offset:complete]),
            self._buffer[:, : end - shift] if finished else None,
            self._buffer[:, shift:end] if finished else None,
        )
        self._state[count] = plan
        self._plans += 1
        return plan

    def _layout(self, view: NDArray[np.float32]) -> NDArray[np.float32]:
        return view[0] if self._channels == 1 else view.T

    def _operations(
        self, run: int, rows: int
    ) -> tuple[Callable[[], object], Callable[[], object], NDArray[np.float32]]:
        """`gather`, `multiply` and the product `[channel, row, output]` of so many runs."""
        k = self._kernel
        if k.runs == 1:
            rows = max(2, rows)  # one row would take BLAS's slow path for vectors
            scratch, product = self._room(rows)
            strides = (self._length * 4, k.start(1) * 4, 4)
            windows = as_strided(self._buffer, (self._channels, rows, k.window), strides, writeable=False)
            matrix, flat = k.bank[0], product.reshape(-1, k.run)
            return (
                partial(scratch.__setitem__, ..., windows),
                partial(scratch.reshape(-1, k.window).dot, matrix, flat),
                product,
            )
        scratch, product = self._room(rows)
        starts = np.array([k.start(run + row) - k.start(run) for row in range(rows)])
        index = starts[:, None] + np.arange(k.window)
        columns = scratch[:, :, None, :], product[:, :, None, :]  # a vector times a matrix, for every run
        return (
            partial(self._buffer.take, index, 1, scratch, "clip"),
            partial(np.matmul, columns[0], k.bank[run : run + rows], columns[1]),
            product,
        )

    def _room(self, rows: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Scratch `[channel, row, input]` and product `[channel, row, output]`, shared by all plans."""
        k, count = self._kernel, self._channels * rows
        if self._scratch.size < count * k.window:
            self._scratch = aligned_zeros(count * k.window)
            self._product = aligned_zeros(count * k.run)
            self._forget_plans()
        scratch = self._scratch[: count * k.window].reshape(self._channels, rows, k.window)
        return scratch, self._product[: count * k.run].reshape(self._channels, rows, k.run)

    def _forget_plans(self) -> None:
        state = self._state
        self._states.clear()
        self._plans = 0
        self._state = self._state_at(state.fill, state.run, state.offset)
