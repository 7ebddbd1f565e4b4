"""Streaming sample-rate conversion in numpy: one small matrix product per chunk.

All blocks of a chunk are rows of one overlapping view of the input, so that a chunk is one product with the matrix
of `kernels`. Slices, views and scratch for a state and a chunk length are made once and kept: with constant chunks
a call is five numpy operations. OpenBLAS spins a second thread on such products; `OPENBLAS_NUM_THREADS=1` halves
the CPU time of a process.

The resampler does not look at values: NaN and infinity are replaced at the border of a source (`Uplink`).
"""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.lib.stride_tricks import as_strided, sliding_window_view
from numpy.typing import NDArray

from .errors import UnsupportedFormat
from .format import check_channels, check_rate
from .kernels import Kernel, Quality, aligned_zeros, kernel
from .ports import Pcm, Pull

_MAX_PIECE = 4096  # frames that go through the matrix at once; bounds all memory
_MAX_PLANS = 512


class StreamResampler:
    """Converts a stream from `rate_in` to `rate_out`, chunk by chunk, with a constant delay.

    quality: "voice" (alias and images ≤ −84 dB from 1.1 × the lower Nyquist frequency up, 1.1 ms at 24 ↔ 48 kHz),
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
        self._core: _Core
        if rate_in == rate_out:
            self._core = _Through()
        elif design.block_in:
            self._core = _Blocks(design, channels)
        else:
            self._core = _Phases(design, channels)
        self.delay_seconds = 0.0 if rate_in == rate_out else design.half / rate_in
        """Time from a frame's arrival to the output that it is the centre of; the same for every frame."""

    def push(self, x: NDArray[Any]) -> NDArray[Any]:
        """The next frames, `[frame]` (mono) or `[frame, channel]`; returns what is complete, of the same rank."""
        if x.dtype is not self._dtype or x.shape[1:] != self._frame_shape or len(x) > _MAX_PIECE:
            return self._push_other(x)
        return self._finish(self._core.push(x))

    def flush(self) -> NDArray[Any]:
        """The rest of the stream, of the rank that was pushed; the next push begins a new stream."""
        rest = self._finish(self._core.push(np.zeros((self._core.half, *self._frame_shape), np.float32)))
        self._core.clear()
        return rest[:, None] if self._column else rest

    def clear(self) -> None:
        """Forget the stream; the next push begins a new one."""
        self._core.clear()

    def frames_needed(self, n: int) -> int:
        """The smallest number of input frames after which `push` returns at least n frames."""
        return self._core.frames_needed(n) if n > 0 else 0

    def _finish(self, y: Pcm) -> NDArray[Any]:
        if self._dtype != np.int16:
            return y
        np.rint(y, out=y)
        np.clip(y, -32768.0, 32767.0, out=y)
        return y.astype(np.int16)

    def _push_other(self, x: NDArray[Any]) -> NDArray[Any]:
        """What is not a plain chunk: long ones, mono as `[frame, 1]`, and what has to be refused."""
        if x.dtype != self._dtype:
            raise UnsupportedFormat(f"{x.dtype} samples in a resampler for {self._dtype}")
        if self.channels == 1 and x.shape[1:] == (1,):
            self._column = True
            return self.push(x[:, 0])[:, None]
        if x.shape[1:] != self._frame_shape or x.ndim == 0:
            raise UnsupportedFormat(
                f"samples of shape {list(x.shape)} in a resampler for {self.channels} channels"
            )
        pieces = [self._core.push(x[at : at + _MAX_PIECE]) for at in range(0, max(1, len(x)), _MAX_PIECE)]
        return self._finish(np.concatenate(pieces))


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


class _Core(Protocol):
    """The stream behind a StreamResampler: float32 or int16 in, float32 out, `[frame]` for mono."""

    half: int

    def push(self, x: NDArray[Any]) -> Pcm: ...
    def frames_needed(self, n: int) -> int: ...
    def clear(self) -> None: ...


class _Through:
    """Equal rates."""

    half = 0

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
    windows: NDArray[np.float32] | None  # overlapping view of the buffer; None: no output is complete yet
    scratch: NDArray[np.float32]
    multiply: Callable[[NDArray[np.float32], NDArray[np.float32]], Any]
    product: NDArray[np.float32]
    output: NDArray[np.float32]
    move_to: NDArray[np.float32] | None  # what is still needed moves to the front; None: nothing is finished
    move_from: NDArray[np.float32] | None


class _State(dict[int, _Plan]):
    """Where a stream stands between two chunks, with the plans by chunk length made so far."""

    def __init__(self, fill: int, offset: int) -> None:
        super().__init__()
        self.fill = fill  # inputs in the buffer
        self.offset = offset  # outputs of the first block in the buffer that have gone out already


class _Blocks:
    """The stream for ratios with a block matrix: nearly all."""

    def __init__(self, design: Kernel, channels: int) -> None:
        self.half = design.half
        self._design = design
        self._channels = channels
        self._matrix = design.matrix
        # After a push fewer than window + block_in inputs stay; a product may read one block beyond the end.
        self._length = _MAX_PIECE + 3 * (design.window + design.block_in)
        self._buffer = aligned_zeros(channels * self._length).reshape(channels, self._length)
        self._scratch = aligned_zeros(0)
        self._product = aligned_zeros(0)
        self._plans = 0
        self._states: dict[tuple[int, int], _State] = {}
        self.clear()

    def clear(self) -> None:
        self._buffer[...] = 0.0
        self._state = self._state_at(self.half - 1, 0)  # a stream begins with zeros

    def frames_needed(self, n: int) -> int:
        d = self._design
        return max(0, (self._state.offset + n - 1) * d.down // d.up + 2 * d.half - self._state.fill)

    def push(self, x: NDArray[Any]) -> Pcm:
        plan = self._state.get(len(x))
        if plan is None:
            plan = self._plan(len(x))
        slot, self._state, windows, scratch, multiply, product, output, move_to, move_from = plan
        slot[...] = x
        if windows is None:
            return output.copy()
        scratch[...] = windows
        multiply(self._matrix, product)
        y = output.copy()
        if move_to is not None:
            move_to[...] = move_from  # numpy handles the overlap
        return y

    def _state_at(self, fill: int, offset: int) -> _State:
        return self._states.setdefault((fill, offset), _State(fill, offset))

    def _plan(self, count: int) -> _Plan:
        d = self._design
        if self._plans >= _MAX_PLANS:
            self._forget_plans()
        fill, offset = self._state.fill, self._state.offset
        end = fill + count
        # Outputs whose whole window is there, counted from the start of the first block. Partial blocks are
        # computed whole, and columns whose window is incomplete are not handed out.
        complete = max(offset, -(-((end - 2 * d.half + 1) * d.up) // d.down))
        finished = complete // d.block_out
        rows = max(2, -(-complete // d.block_out))  # one row would take BLAS's slow path for vectors
        shift = finished * d.block_in
        windows, scratch, product = self._views(rows)
        flat = product.reshape(self._channels, rows * d.block_out)[:, offset:complete]
        plan = _Plan(
            self._layout(self._buffer[:, fill:end]),
            self._state_at(end - shift, complete - finished * d.block_out),
            windows if complete > offset else None,
            scratch,
            scratch.reshape(-1, d.window).dot,
            product.reshape(-1, d.block_out),
            self._layout(flat),
            self._buffer[:, : end - shift] if finished else None,
            self._buffer[:, shift:end] if finished else None,
        )
        self._state[count] = plan
        self._plans += 1
        return plan

    def _layout(self, view: NDArray[np.float32]) -> NDArray[np.float32]:
        return view[0] if self._channels == 1 else view.T

    def _views(self, rows: int) -> tuple[NDArray[np.float32], ...]:
        d, channels = self._design, self._channels
        if self._scratch.size < channels * rows * d.window:
            self._scratch = aligned_zeros(channels * rows * d.window)
            self._product = aligned_zeros(channels * rows * d.block_out)
            self._forget_plans()
        windows = as_strided(self._buffer, (channels, rows, d.window), (self._length * 4, d.block_in * 4, 4))
        scratch = self._scratch[: channels * rows * d.window].reshape(channels, rows, d.window)
        product = self._product[: channels * rows * d.block_out].reshape(channels, rows, d.block_out)
        return windows, scratch, product

    def _forget_plans(self) -> None:
        state = self._state
        self._states.clear()
        self._plans = 0
        self._state = self._state_at(state.fill, state.offset)


class _Phases:
    """The stream for ratios too fine for a block matrix (22254 → 48000 Hz): every output looks its filter up."""

    def __init__(self, design: Kernel, channels: int) -> None:
        self.half = design.half
        self._design = design
        self._channels = channels
        self.clear()

    def clear(self) -> None:
        self._buffer = np.zeros((self.half - 1, self._channels), np.float32)
        self._next = 0  # place of the next output, in 1 / L input frames from the start of the buffer

    def frames_needed(self, n: int) -> int:
        d = self._design
        return max(0, (self._next + (n - 1) * d.down) // d.up + 2 * d.half - len(self._buffer))

    def push(self, x: NDArray[Any]) -> Pcm:
        d = self._design
        buffer = np.concatenate((self._buffer, x.astype(np.float32).reshape(-1, self._channels)))
        count = max(0, -(-((len(buffer) - 2 * d.half + 1) * d.up - self._next) // d.down))
        start, phase = np.divmod(self._next + d.down * np.arange(count), d.up)
        windows = (
            sliding_window_view(buffer, 2 * d.half, axis=0)[start]
            if count
            else np.empty((0, self._channels, 2 * d.half), np.float32)
        )
        y: Pcm = np.einsum("kct,kt->kc", windows, d.matrix[phase])
        self._next += count * d.down
        used = min(self._next // d.up, len(buffer))
        self._next -= used * d.up
        self._buffer = buffer[used:].copy()
        return y[:, 0] if self._channels == 1 else y
