"""The state of a resampled stream, and prepared plans for its pushes. Used by `StreamResampler` only.

All runs of a chunk (`kernels`) are rows of one overlapping view of the input, so that a chunk is one product. Views and
slices for a state and the shape of a chunk are made once and kept: with constant chunks a push is three or four numpy
operations and no arithmetic in Python. The stream walks through its buffer and is moved to the front only at the end.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .kernels import Kernel, aligned_zeros

MAX_PLANS = 1024  # of about 2 KB; a chunk of 7 frames at 48 kHz needs 640 of them on the way to 11025 Hz
_MAX_PIECE = 4096  # frames of one product; bounds all memory

Compute = Callable[[], NDArray[Any]]


class Plan(NamedTuple):
    """All that a push needs in a given state, for a given shape of a chunk."""

    slot: NDArray[np.float32]
    """Where the chunk goes."""
    next_state: "State"
    compute: Compute
    """Makes the outputs that the chunk completes, in an array of their own."""
    move_to: NDArray[np.float32] | None
    """What is still needed moves to the front; None: it stays where it is."""
    move_from: NDArray[np.float32] | None
    passed: NDArray[np.float32] | None
    """What the stream has walked through; it is zeroed then, for a NaN in it would spoil windows that end before it."""


class Place(NamedTuple):
    """Where a stream stands between two chunks."""

    start: int
    """Where in the buffer the window of the run begins that is being filled."""
    inputs: int
    """How many inputs have come; past the beginning of the stream modulo the period of the kernel."""


class State(dict[tuple[int, ...], Plan]):
    """The plans made so far for a place, by the shape of a chunk."""

    def __init__(self, place: Place) -> None:
        super().__init__()
        self.place = place


class RunStream:
    """Buffer, state and plans of one stream; the buffer is `[channel, frame]`."""

    def __init__(self, design: Kernel, channels: int) -> None:
        self._kernel = design
        self._channels = channels
        self._period = design.step * design.runs
        # From so many inputs on every period is like the first of them: no output is before the first of the stream.
        self._beginning = -(-design.half // self._period) * self._period
        rows = len(design.bank) - design.runs if design.runs > 1 else _MAX_PIECE // design.step + 1
        self._max_piece = (rows - 1) * design.step
        # A run's window reaches to its end, less than a step beyond the inputs that are there.
        length = _MAX_PIECE + design.window + 2 * design.step
        self._buffer = aligned_zeros(channels * length).reshape(channels, length)
        self._scratch = aligned_zeros(channels * rows * design.window if channels > 1 else 0)
        shape = channels, rows + design.runs, 1, design.bank.shape[2]
        self._product = aligned_zeros(math.prod(shape)).reshape(shape)
        self._plans = 0
        self._states: dict[Place, State] = {}
        self.clear()

    def clear(self) -> None:
        """Forget the stream; the next push begins a new one."""
        self._buffer[...] = 0.0
        self._state = self._state_at(Place(0, 0))  # before a stream there are zeros

    def frames_needed(self, n: int) -> int:
        """The smallest number of input frames after which a push returns at least n frames."""
        k, inputs = self._kernel, self._state.place.inputs
        last = max(0, k.complete(inputs)) + n - 1
        return max(0, last * k.down // k.up + k.half + 1 - inputs) if n > 0 else 0

    def _state_at(self, place: Place) -> State:
        if place not in self._states:
            self._states[place] = State(place)
        return self._states[place]

    def _make_plan(self, shape: tuple[int, ...]) -> None:
        """For a chunk of this shape in the present state."""
        if self._plans >= MAX_PLANS:
            self._states.clear()
            self._plans = 0
            self._state = self._state_at(self._state.place)
        count = shape[0]
        if not self._fits(self._state.place, count):
            self._move_to_front()
        step, (start, inputs) = self._kernel.step, self._state.place
        passed_runs = (inputs + count) // step - inputs // step
        fill, shift = self._fill(inputs), passed_runs * step
        place = Place(start + shift, self._wrapped(inputs + count))
        # Walking on is for chunks that repeat: others would need a plan for every place in the buffer.
        moves = bool(shift) and not (place.inputs == inputs and self._fits(place, count))
        end = start + fill + count
        self._state[shape] = Plan(
            self._layout(self._buffer[:, start + fill : end], len(shape)),
            self._state_at(place._replace(start=0) if moves else place),
            self._operation(count, len(shape)),
            self._buffer[:, : end - place.start] if moves else None,
            self._buffer[:, place.start : end] if moves else None,
            self._buffer[:, end - place.start :] if moves and start else None,
        )
        self._plans += 1

    def _fill(self, inputs: int) -> int:
        """How many inputs are kept: the rest of the window before the present run, and what has come of the run."""
        return self._kernel.window - self._kernel.step + inputs % self._kernel.step

    def _wrapped(self, inputs: int) -> int:
        beyond = inputs - self._beginning
        return inputs if beyond < 0 else self._beginning + beyond % self._period

    def _fits(self, place: Place, count: int) -> bool:
        return place.start + self._fill(place.inputs) + count + self._kernel.step <= self._buffer.shape[1]

    def _move_to_front(self) -> None:
        start, inputs = self._state.place
        fill = self._fill(inputs)
        self._buffer[:, :fill] = self._buffer[:, start : start + fill]
        self._state = self._state_at(Place(0, inputs))

    def _layout(self, view: NDArray[np.float32], ndim: int) -> NDArray[np.float32]:
        return view[0] if ndim == 1 else view.T

    def _operation(self, count: int, ndim: int) -> Compute:
        """Makes the outputs that `count` more inputs complete."""
        k, (start, inputs) = self._kernel, self._state.place
        run = inputs // k.step
        rows = (inputs + count - 1) // k.step - run + 1
        first, due = max(0, k.complete(inputs)), max(0, k.complete(inputs + count))
        if first == due:
            shape = (0,) if ndim == 1 else (0, self._channels)
            return lambda: np.zeros(shape, np.float32)
        strides = (self._buffer.strides[0], k.step * 4, 4)
        windows = np.ndarray((self._channels, rows, k.window), np.float32, self._buffer, start * 4, strides)
        row = run % k.runs  # in the bank, and in the product
        before = k.complete((run - row) * k.step)
        wanted = slice(first - before, due - before)
        if k.runs == 1:
            return self._one_matrix(windows, wanted, ndim)
        return self._a_matrix_each(windows, row, k.places[wanted], ndim)

    def _one_matrix(self, windows: NDArray[np.float32], wanted: slice, ndim: int) -> Compute:
        """All windows, copied side by side, times one matrix."""
        channels, rows, window = windows.shape
        matrix = self._kernel.bank[0]
        results = self._product.reshape(-1, matrix.shape[1])[: channels * rows]
        output = self._layout(results.reshape(channels, -1)[:, wanted], ndim)
        if channels == 1:
            dot = windows[0].dot  # numpy makes the copy
            if ndim == 1 and output.size == results.size:
                return lambda: dot(matrix).ravel()

            def compute() -> NDArray[np.float32]:
                dot(matrix, results)
                return output.copy()

            return compute
        copied = self._scratch[: windows.size].reshape(windows.shape)
        dot = copied.reshape(-1, window).dot

        def compute_all() -> NDArray[np.float32]:
            copied[...] = windows
            dot(matrix, results)
            return output.copy()

        return compute_all

    def _a_matrix_each(
        self, windows: NDArray[np.float32], row: int, wanted: NDArray[np.intp], ndim: int
    ) -> Compute:
        """Every window times the matrix of its run."""
        channels, rows, _ = windows.shape
        here, matmul = slice(row, row + rows), np.matmul
        vectors, matrices, product = windows[:, :, None], self._kernel.bank[here], self._product[:, here]
        if channels == 1:  # less for numpy to look at
            vectors, product = vectors[0], product[0]
        take, flat_take = self._product.reshape(channels, -1).take, self._product.reshape(-1).take

        def compute() -> NDArray[np.float32]:
            matmul(vectors, matrices, product)
            return flat_take(wanted) if ndim == 1 else np.ascontiguousarray(take(wanted, 1).T)

        return compute
