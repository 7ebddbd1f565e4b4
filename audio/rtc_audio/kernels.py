"""Resampling filters as matrices: the values of one continuous low-pass at every phase of a rate pair.

Output n lies at input time n * M / L, where L / M is the reduced ratio of the rates. The stream is cut into runs of so
many inputs; the outputs that such inputs complete are one window of inputs times a banded matrix. If a run is whole
periods (L small) all runs share one matrix; for the others (160/147) a period is cut into runs with a matrix each, of
which some have one output less than others. Every column sums to one, so that a constant stays exactly what it is.

The low-pass is a short sum of cosines whose worst errors, measured by what is allowed at a frequency, are least: a
fifth shorter than a Kaiser-windowed sinc of the same stop band.

Source: C. L. Lawson, "Contributions to the theory of linear least maximum approximation", 1961 (least squares, weighted
again and again by its own errors, tends to the least maximum).
"""

import math
from functools import lru_cache
from typing import Literal, NamedTuple

import numpy as np
from numpy.polynomial.chebyshev import chebval
from numpy.typing import NDArray

from .errors import UnsupportedFormat

Quality = Literal["voice", "hq", "fast"]


class _Preset(NamedTuple):
    half_length: int
    """Of the filter, in samples of the lower rate."""
    pass_band: tuple[tuple[float, float], ...]
    """Edges in units of the lower Nyquist frequency, and how far the gain may be from one there."""
    stop_edge: float
    """Where the stop band begins, same unit."""
    stop_band: float
    """How far the gain may be from zero in it; as far as the length allows, the proportions count."""


# Sound down where a voice has its energy is exact; what is allowed next to the edge makes the filter short.
_PRESETS: dict[str, _Preset] = {
    "fast": _Preset(12, ((0.2, 1e-3), (0.8, 2e-2), (0.9, 0.2)), 1.10, 2.8e-4),
    "voice": _Preset(18, ((0.2, 2e-4), (0.5, 1e-3), (0.8, 1e-2), (0.9, 8e-2)), 1.10, 3.5e-5),
    "hq": _Preset(46, ((0.5, 3e-5), (0.8, 3e-4), (0.9, 2e-3)), 1.02, 9e-6),
}
_MAX_BANK = 1 << 22  # entries of all matrices of a rate pair: 16 MiB
_MOST_INPUTS = 1024  # of one product, where every run has its own matrix


class Kernel(NamedTuple):
    """What a stream of one rate pair needs; shared by all streams of that pair and never written."""

    up: int
    """L of the reduced ratio."""
    down: int
    """M of the reduced ratio."""
    half: int
    """Input samples that an output needs on each side."""
    step: int
    """Inputs of a run."""
    runs: int
    """Runs until the pattern repeats; one for a simple ratio."""
    window: int
    """Inputs that all outputs of a run need; the last ones are its own."""
    bank: NDArray[np.float32]
    """`[run, input of the window, output]`; many of them go on from the first again, as far as a product reaches."""
    places: NDArray[np.intp]
    """Where all outputs, one after another, stand in the product with the whole bank."""

    def complete(self, inputs: int) -> int:
        """How many outputs have their whole window in the first inputs of a stream; negative before any has."""
        return -((self.half - inputs) * self.up // self.down)


@lru_cache(maxsize=64)
def kernel(rate_in: int, rate_out: int, quality: Quality) -> Kernel:
    """The filter of a rate pair. Raises UnsupportedFormat for an unknown quality or a ratio that is too fine."""
    if quality not in _PRESETS:
        raise UnsupportedFormat(f"quality={quality!r}: need 'voice', 'hq' or 'fast'")
    preset = _PRESETS[quality]
    common = math.gcd(rate_in, rate_out)
    up, down = rate_out // common, rate_in // common
    reach = preset.half_length * down / min(up, down)  # in input samples
    half = math.ceil(reach)
    step = _run_length(up, down, half)
    runs = down // math.gcd(down, step)
    window, outputs = _window(step, half), _most_outputs(step, up, down)
    if runs * window * outputs > _MAX_BANK:
        raise UnsupportedFormat(
            f"cannot resample {rate_in} Hz to {rate_out} Hz: the ratio {up}/{down} is too fine"
        )
    starts = np.arange(runs + 1)[:, None] * step
    first = -((half - starts) * up // down)  # the number of a run's first output
    numbers = first[:-1] + np.arange(outputs)
    times = starts[:-1] + np.arange(step - window, step)
    weights = _weights(numbers[:, None] * down / up - times[:, :, None], reach, preset)
    own = numbers < first[1:]
    weights *= own[:, None]
    weights /= np.where(own, weights.sum(1), 1)[:, None]
    rows = np.arange(runs + _MOST_INPUTS // step + 2 if runs > 1 else 1) % runs
    return Kernel(up, down, half, step, runs, window, _aligned(weights[rows]), np.flatnonzero(own[rows]))


def _window(step: int, half: int) -> int:
    return -(-(step + 2 * half - 1) // 4) * 4  # whole vectors of the processor


def _most_outputs(step: int, up: int, down: int) -> int:
    """Columns of a run's matrix; BLAS multiplies a vector with four of them at a time."""
    return step // down * up if step % down == 0 else -(-step * up // down // 4) * 4


def _run_length(up: int, down: int, half: int) -> int:
    """Inputs of a run: enough for an efficient product, no more, because longer ones only add products with zero."""
    if up < 32:
        # Long windows: a wider run has more zeros to multiply. Short steps: it has fewer inputs to copy.
        least = 8 if down >= 3 * up else 16 if up < 2 * down else 24
        # 10 ms shall be whole runs: 480 frames at 48 kHz, of which the other usual rates have simple parts.
        fitting = (k for k in range(1, 25) if k * up >= least and k * up % 8 == 0 and 480 % (k * down) == 0)
        return down * next(fitting, max(1, 32 // down))

    def cost(step: int) -> float:
        """Of an input, in multiplications: one call of BLAS takes as long as a thousand."""
        return (1200 + _window(step, half) * _most_outputs(step, up, down)) / step

    return min((step for step in range(1, down + 1) if down % step == 0), key=cost)


@lru_cache(maxsize=len(_PRESETS))
def _cosines(preset: _Preset) -> NDArray[np.float64]:
    """c of the filter h(t) = sum of c[k] cos(pi k t / half_length), t in samples of the lower rate."""
    # Two neighbours together are zero at the ends of the filter, so that its spectrum falls steeply beyond the grid.
    half, terms = preset.half_length, round(1.05 * preset.half_length) + 2
    edges, tolerances = zip(*preset.pass_band, strict=True)
    passed = np.linspace(0, edges[-1], 3 * half)
    stopped = np.linspace(preset.stop_edge, preset.stop_edge + 3, 9 * half)
    turns = half * np.concatenate((passed, stopped))[:, None]
    cosines = np.sinc(turns - np.arange(terms)) + np.sinc(turns + np.arange(terms))
    spectra = cosines[:, 1:] + cosines[:, :-1]
    wanted = np.repeat((1.0, 0.0), (len(passed), len(stopped)))
    allowed = np.full(len(wanted), preset.stop_band)
    allowed[: len(passed)] = np.exp(np.interp(passed, edges, np.log(tolerances)))
    weights = np.ones(len(wanted))
    factors = np.zeros(terms - 1)
    for _ in range(6):
        rows = np.sqrt(weights) / allowed
        factors = np.linalg.lstsq(spectra * rows[:, None], wanted * rows, rcond=None)[0]
        errors = np.abs(spectra @ factors - wanted) / allowed
        weights *= errors / errors.max()
    c: NDArray[np.float64] = np.append(0.0, factors) + np.append(factors, 0.0)
    return c


def _weights(distance: NDArray[np.float64], reach: float, preset: _Preset) -> NDArray[np.float64]:
    """The filter, at any scale, at a distance in input samples from the output."""
    weights = np.zeros(distance.shape)
    inside = np.abs(distance) < reach
    weights[inside] = chebval(np.cos(np.pi / reach * distance[inside]), _cosines(preset))
    return weights


def aligned_zeros(count: int) -> NDArray[np.float32]:
    """float32 zeros that begin on a cache line: a fifth less time, and less spread, in a matrix product."""
    raw = np.zeros(count * 4 + 64, np.uint8)
    start = -raw.ctypes.data % 64
    return raw[start : start + count * 4].view(np.float32)


def _aligned(values: NDArray[np.float64]) -> NDArray[np.float32]:
    copy = aligned_zeros(values.size).reshape(values.shape)
    copy[...] = values
    copy.flags.writeable = False
    return copy
