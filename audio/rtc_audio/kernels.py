"""Resampling filters as matrices: Kaiser-windowed sinc values for every phase of a rate pair.

Output n lies at input time n * M / L, where L / M is the reduced ratio of the rates. A run of consecutive outputs is
one window of inputs times a banded matrix. For a simple ratio (L small) a run is whole periods and all runs share one
matrix; for the others (147/160) a period is cut into runs with a matrix each. Every column sums to one, so that a
constant stays exactly what it is.

Source: J. F. Kaiser, "Nonrecursive digital filter design using the I0-sinh window function", 1974 (length and
shape parameter from stopband attenuation and transition width).
"""

import math
from functools import lru_cache
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .errors import UnsupportedFormat

Quality = Literal["voice", "hq", "fast"]


class _Preset(NamedTuple):
    stopband_db: float
    transition: float  # width of the transition band, in units of the lower Nyquist frequency
    stop_edge: float  # where the stopband begins, same unit


_PRESETS: dict[str, _Preset] = {
    "fast": _Preset(66.0, 0.30, 1.10),
    "voice": _Preset(85.0, 0.25, 1.10),
    "hq": _Preset(100.0, 0.12, 1.02),
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
    half = math.ceil(_reach(rate_in, rate_out, preset))
    run = _run_length(up, down)
    runs = up // math.gcd(up, run)
    latest_phase = up - math.gcd(up, run) if runs > 1 else 0
    window = (latest_phase + (run - 1) * down) // up + 2 * half
    if runs * window * run > _MAX_BANK:
        raise UnsupportedFormat(
            f"cannot resample {rate_in} Hz to {rate_out} Hz: the ratio {up}/{down} is too fine"
        )
    phases = np.arange(runs) * run * down % up
    centres = (phases[:, None, None] + np.arange(run) * down) / up
    weights = _weights(centres - (np.arange(window) - (half - 1))[:, None], rate_in, rate_out, preset)
    weights /= weights.sum(1, keepdims=True)
    repeated = weights if runs == 1 else weights[np.arange(runs + MAX_RUNS) % runs]
    return Kernel(up, down, half, run, runs, window, _aligned(repeated))


def _run_length(up: int, down: int) -> int:
    """Outputs of a run: enough for an efficient product, no more, because longer ones only add products with zero."""
    if up < 32:
        least = 8 if down >= 3 * up else 16  # long windows: a wider run has more zeros to multiply
        periods = next(k for k in range(1, 17) if k * up >= least and k * up % 8 == 0)
        return up * max(1, min(periods, 256 // down))
    divisors = [n for n in range(16, 65) if up % n == 0]
    return min(divisors, key=lambda n: abs(math.log(n / 34)), default=32)


def _reach(rate_in: int, rate_out: int, preset: _Preset) -> float:
    """Half the length of the filter in input samples (not rounded: the lower rate decides)."""
    half_length = math.ceil((preset.stopband_db - 7.95) / (2.285 * preset.transition * math.pi) / 2)
    return half_length * rate_in / min(rate_in, rate_out)


def _weights(
    distance: NDArray[np.float64], rate_in: int, rate_out: int, preset: _Preset
) -> NDArray[np.float64]:
    """The filter at a distance in input samples from the output."""
    reach = _reach(rate_in, rate_out, preset)
    beta = 0.1102 * (preset.stopband_db - 8.7)
    # Relative to the input's Nyquist frequency.
    cutoff = (preset.stop_edge - preset.transition / 2) * min(rate_in, rate_out) / rate_in
    weights = np.zeros(distance.shape)
    inside = np.abs(distance) < reach
    near = distance[inside]
    weights[inside] = np.sinc(cutoff * near) * np.i0(beta * np.sqrt(1 - (near / reach) ** 2))
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
