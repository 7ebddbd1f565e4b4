"""The state of a resampled stream, and prepared plans for its pushes. Used by `StreamResampler` only.

All runs of a chunk (`kernels`) are rows of one overlapping view of the input, so that a chunk is one product. Slices,
views and scratch for a state and a chunk length are made once and kept: with constant chunks a push is four numpy
operations and no arithmetic in Python. The stream walks through its buffer and is moved to the front only at the end.
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
    compute: Callable[[], object]
    """Makes the product of all runs; does nothing while no output is complete."""
    output: NDArray[np.float32]
    """What of the product is complete and new."""
    move_to: NDArray[np.float32] | None
    """What is still needed moves to the front; None: it stays where it is."""
    move_from: NDArray[np.float32] | None
    passed: NDArray[np.float32] | None
    """What the stream has walked through; it is zeroed then, for a NaN in it would spoil windows that end before it."""


class Place(NamedTuple):
    """Where a stream stands between two chunks."""

    start: int
    """Where in the buffer the inputs begin that are still needed."""
    fill: int
    """How many there are."""
    run: int
    """The run that they begin with, modulo the runs of the kernel."""
    offset: int
    """Outputs of that run that have gone out already."""


class State(dict[int, Plan]):
    """The plans made so far for a place, by the length of a chunk."""

    def __init__(self, place: Place) -> None:
        super().__init__()
        self.place = place


class RunStream:
    """Buffer, state and plans of one stream; arrays are `[frame, channel]`, or `[frame]` if there is one channel."""

    def __init__(self, design: Kernel, channels: int) -> None:
        self._kernel = design
        self._channels = channels
        per_product = _MAX_PIECE if design.runs == 1 else design.start(MAX_RUNS - 2) - 1
        self._max_piece = max(1, min(_MAX_PIECE, per_product))
        self._beyond = 2 * design.window + 4 * design.start(1)  # a product may read four runs beyond the end
        # After a push fewer inputs than two windows stay.
        length = self._max_piece + 2 * design.window + self._beyond
        self._buffer = aligned_zeros(channels * length).reshape(channels, length)
        self._scratch = self._product = aligned_zeros(0)
        self._plans = 0
        self._states: dict[Place, State] = {}
        self._ndim = 1 if channels == 1 else 2
        self.clear()

    def clear(self) -> None:
        """Forget the stream; the next push begins a new one."""
        self._buffer[...] = 0.0
        self._state = self._state_at(Place(0, self._kernel.half - 1, 0, 0))  # a stream begins with zeros

    def frames_needed(self, n: int) -> int:
        """The smallest number of input frames after which a push returns at least n frames."""
        k, (_, fill, run, offset) = self._kernel, self._state.place
        last = (k.phase(run) + (offset + n - 1) * k.down) // k.up
        return max(0, last + 2 * k.half - fill) if n > 0 else 0

    def _state_at(self, place: Place) -> State:
        if place not in self._states:
            self._states[place] = State(place)
        return self._states[place]

    def _expect(self, ndim: int) -> None:
        """Chunks, and what comes out, have so many dimensions from now on."""
        if ndim != self._ndim:
            self._ndim = ndim
            self._forget_plans()

    def _make_plan(self, count: int) -> None:
        k = self._kernel
        if self._plans >= MAX_PLANS:
            self._forget_plans()
        if not self._fits(self._state.place, count):
            self._move_to_front()
        here = self._state.place
        start, fill, run, offset = here
        end = fill + count
        # Outputs whose whole window is there, counted from the first of the first run. A run is computed whole,
        # and columns whose window is incomplete are not handed out.
        complete = max(offset, -((k.phase(run) - (end - 2 * k.half + 1) * k.up) // k.down))
        finished = complete // k.run
        shift = k.start(run + finished) - k.start(run)
        next_place = Place(start + shift, end - shift, (run + finished) % k.runs, complete - finished * k.run)
        # Walking on is for chunks that repeat: others would need a plan for every place in the buffer.
        moves = bool(shift) and not (next_place[1:] == here[1:] and self._fits(next_place, count))
        if moves:
            next_place = next_place._replace(start=0)
        compute, product = self._operation(start, run, -(-complete // k.run))
        self._state[count] = Plan(
            self._layout(self._buffer[:, start + fill : start + end]),
            self._state_at(next_place),
            compute if complete > offset else _nothing,
            self._layout(product.reshape(self._channels, -1)[:, offset:complete]),
            self._buffer[:, : end - shift] if moves else None,
            self._buffer[:, start + shift : start + end] if moves else None,
            self._buffer[:, end - shift :] if moves and start else None,
        )
        self._plans += 1

    def _fits(self, place: Place, count: int) -> bool:
        return place.start + place.fill + count + self._beyond <= self._buffer.shape[1]

    def _move_to_front(self) -> None:
        start, fill, *_ = self._state.place
        self._buffer[:, :fill] = self._buffer[:, start : start + fill]
        self._state = self._state_at(self._state.place._replace(start=0))

    def _layout(self, view: NDArray[np.float32]) -> NDArray[np.float32]:
        return view[0] if self._ndim == 1 else view.T

    def _operation(self, start: int, run: int, rows: int) -> tuple[Callable[[], object], NDArray[np.float32]]:
        """`compute` and its product `[channel, row, output]` for so many runs."""
        k = self._kernel
        if k.runs > 1:
            return self._cut_period(start, run, rows)
        rows = -(-rows // 4) * 4  # what BLAS works in: 31 rows take longer than 32
        scratch, product = self._room(rows)
        strides = (self._buffer.strides[0], k.start(1) * 4, 4)
        windows = as_strided(
            self._buffer[:, start:], (self._channels, rows, k.window), strides, writeable=False
        )
        if self._channels == 1:  # numpy copies the windows side by side for BLAS
            return partial(windows[0].dot, k.bank[0], product[0]), product
        vectors, results = scratch.reshape(-1, k.window), product.reshape(-1, k.run)

        def compute() -> None:
            scratch[...] = windows
            vectors.dot(k.bank[0], results)

        return compute, product

    def _cut_period(
        self, start: int, run: int, rows: int
    ) -> tuple[Callable[[], object], NDArray[np.float32]]:
        """The same where every run has a matrix of its own: a vector times a matrix, many times over."""
        k = self._kernel
        scratch, product = self._room(rows)
        starts = np.array([k.start(run + row) - k.start(run) for row in range(rows)], np.intp)
        index = start + starts[:, None] + np.arange(k.window)
        vectors, matrices = scratch[:, :, None, :], k.bank[run : run + rows]
        results = product[:, :, None, :]

        def compute() -> None:
            self._buffer.take(index, 1, scratch, "clip")
            np.matmul(vectors, matrices, results)

        return compute, product

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
        self._states.clear()
        self._plans = 0
        self._state = self._state_at(self._state.place)


def _nothing() -> None:
    """No output is complete yet."""
