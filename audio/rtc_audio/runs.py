"""The state of a resampled stream, and prepared plans for its pushes. Used by `StreamResampler` only.

All runs of a chunk (`kernels`) are rows of one overlapping view of the input, so that a chunk is one product. Slices,
views and scratch for a state and a chunk length are made once and kept: with constant chunks a push is five numpy
operations and no arithmetic in Python.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

from .kernels import MAX_RUNS, Kernel, aligned_zeros

MAX_PLANS = 256
_MAX_PIECE = 4096  # frames of one push; bounds all memory


class Plan(NamedTuple):
    """All that a push needs in a given state, for a given chunk length."""

    slot: NDArray[np.float32]
    """Where the chunk goes."""
    next_state: "State"
    gather: Callable[[], object]
    """Copies the windows of all runs side by side."""
    multiply: Callable[[], object]
    output: NDArray[np.float32]
    """What of the product is complete and new."""
    move_to: NDArray[np.float32] | None
    """What is still needed moves to the front; None: nothing is finished."""
    move_from: NDArray[np.float32] | None


class State(dict[int, Plan]):
    """Where a stream stands between two chunks, with the plans by chunk length made so far."""

    def __init__(self, fill: int, run: int, offset: int) -> None:
        super().__init__()
        self.fill = fill  # inputs in the buffer
        self.run = run  # the run that the buffer begins with, modulo the runs of the kernel
        self.offset = offset  # outputs of that run that have gone out already


class RunStream:
    """Buffer, state and plans of one stream; arrays are `[frame]` for one channel, else `[frame, channel]`."""

    def __init__(self, design: Kernel, channels: int) -> None:
        self._kernel = design
        self._channels = channels
        per_product = _MAX_PIECE if design.runs == 1 else design.start(MAX_RUNS - 2) - 1
        self._max_piece = max(1, min(_MAX_PIECE, per_product))
        # After a push fewer inputs than two windows stay; a product may read two runs beyond the end.
        self._length = self._max_piece + 4 * design.window + 2 * design.start(1)
        self._buffer = aligned_zeros(channels * self._length).reshape(channels, self._length)
        self._scratch = self._product = aligned_zeros(0)
        self._plans = 0
        self._states: dict[tuple[int, int, int], State] = {}
        self.clear()

    def clear(self) -> None:
        """Forget the stream; the next push begins a new one."""
        self._buffer[...] = 0.0
        self._state = self._state_at(self._kernel.half - 1, 0, 0)  # a stream begins with zeros

    def frames_needed(self, n: int) -> int:
        """The smallest number of input frames after which a push returns at least n frames."""
        k, state = self._kernel, self._state
        last = (k.phase(state.run) + (state.offset + n - 1) * k.down) // k.up
        return max(0, last + 2 * k.half - state.fill) if n > 0 else 0

    def _state_at(self, fill: int, run: int, offset: int) -> State:
        key = (fill, run % self._kernel.runs, offset)
        if key not in self._states:
            self._states[key] = State(*key)
        return self._states[key]

    def _make_plan(self, count: int) -> None:
        k = self._kernel
        if self._plans >= MAX_PLANS:
            self._forget_plans()
        fill, run, offset = self._state.fill, self._state.run, self._state.offset
        end = fill + count
        # Outputs whose whole window is there, counted from the first of the first run. A run is computed whole,
        # and columns whose window is incomplete are not handed out.
        complete = max(offset, -((k.phase(run) - (end - 2 * k.half + 1) * k.up) // k.down))
        finished = complete // k.run
        shift = k.start(run + finished) - k.start(run)
        gather, multiply, product = self._operations(run, -(-complete // k.run))
        self._state[count] = Plan(
            self._layout(self._buffer[:, fill:end]),
            self._state_at(end - shift, run + finished, complete - finished * k.run),
            gather if complete > offset else _nothing,
            multiply if complete > offset else _nothing,
            self._layout(product.reshape(self._channels, -1)[:, offset:complete]),
            self._buffer[:, : end - shift] if finished else None,
            self._buffer[:, shift:end] if finished else None,
        )
        self._plans += 1

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
            multiply = partial(scratch.reshape(-1, k.window).dot, k.bank[0], product.reshape(-1, k.run))
            return partial(scratch.__setitem__, ..., windows), multiply, product
        scratch, product = self._room(rows)
        starts = np.array([k.start(run + row) - k.start(run) for row in range(rows)], np.intp)
        index = starts[:, None] + np.arange(k.window)
        vectors, results = (
            scratch[:, :, None, :],
            product[:, :, None, :],
        )  # a vector times a matrix, for every run
        multiply = partial(np.matmul, vectors, k.bank[run : run + rows], results)
        return partial(self._buffer.take, index, 1, scratch, "clip"), multiply, product

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


def _nothing() -> None:
    """No output is complete yet."""
