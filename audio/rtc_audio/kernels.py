"""Resampling filters as matrices: the values of one continuous low-pass at every phase of a rate pair.

Output n lies at input time n * M / L, where L / M is the reduced ratio of the rates. A run of consecutive outputs is
one window of inputs times a banded matrix. For a simple ratio (L small) a run is whole periods and all runs share one
matrix; for the others (147/160) a period is cut into runs with a matrix each. Every column sums to one, so that a
constant stays exactly what it is.

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
MAX_RUNS = 64  # runs of one product, where every run has its own matrix


class Kernel(NamedTuple):
    """What a stream of one rate pair needs; shared by all streams of that pair and never written."""

    up: int
    """L of the reduced ratio."""
    down: int
    """M of the reduced ratio."""
    half: int
    """Input samples that an output needs on each side."""
    run: int
    """Outputs of one run."""
    runs: int
    """Runs until the pattern repeats; one for a simple ratio."""
    window: int
    """Inputs that all outputs of a run need."""
    bank: NDArray[np.float32]
    """`[run, input of the window, output]`; where there are many, the first MAX_RUNS stand again behind the last."""

    def start(self, run: int) -> int:
        """Input time, rounded down, of the first output of a run."""
        return run * self.run * self.down // self.up

    def phase(self, run: int) -> int:
        """What `start` rounded away, in units of 1 / L."""
        return run * self.run * self.down % self.up


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
    run = _run_length(up, down)
    runs = up // math.gcd(up, run)
    latest_phase = up - math.gcd(up, run) if runs > 1 else 0
    window = (latest_phase + (run - 1) * down) // up + 2 * half
    window = -(-window // 4) * 4  # whole vectors of the processor
    if runs * window * run > _MAX_BANK:
        raise UnsupportedFormat(
            f"cannot resample {rate_in} Hz to {rate_out} Hz: the ratio {up}/{down} is too fine"
        )
    phases = np.arange(runs) * run * down % up
    centres = (phases[:, None, None] + np.arange(run) * down) / up
    weights = _weights(centres - (np.arange(window) - (half - 1))[:, None], reach, preset)
    weights /= weights.sum(1, keepdims=True)
    repeated = weights if runs == 1 else weights[np.arange(runs + MAX_RUNS) % runs]
    return Kernel(up, down, half, run, runs, window, _aligned(repeated))


def _run_length(up: int, down: int) -> int:
    """Outputs of a run: enough for an efficient product, no more, because longer ones only add products with zero."""
    if up < 32:
        # Long windows: a wider run has more zeros to multiply. Short steps: it has fewer inputs to copy.
        least = 8 if down >= 3 * up else 16 if up < 2 * down else 24
        periods = next(k for k in range(1, 17) if k * up >= least and k * up % 8 == 0)
        return up * max(1, min(periods, 256 // down))
    divisors = [n for n in range(16, 65) if up % n == 0]
    return min(divisors, key=lambda n: abs(math.log(n / 34)), default=32)


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
