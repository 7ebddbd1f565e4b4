"""Sound between its samples: blocks read at a speed that is a little off one, for clocks that differ.

Within a block the place between two samples moves by less than one. The sound is interpolated for a few fixed places
of that range, each with one kernel for all samples, and a polynomial through these gives every sample its own. The
kernels are polynomials of the place, too (C. W. Farrow, "A continuously variable digital delay element", 1988).

A tone up to 0.8 of half the rate keeps its level within 0.001 dB; what is added to it stays below -82 dB, and below
-95 dB where a voice has its energy.
"""

import functools

import numpy as np
from numpy.typing import NDArray

Mono = NDArray[np.float32]

REACH = 15  # samples on each side of a place that its kernel looks at
HALF_LENGTH, BETA = 14.0, 8.0  # of the kernel: a sinc in a Kaiser window, in samples
TERMS = 10  # of the polynomials for the kernels
PLACES = 4  # in a block for which the sound is interpolated
FARTHEST = 0.64  # of a place from the sample in the middle of its kernel
MOST_MOVED = 0.25  # samples that the place may move by within a block


def interpolate(samples: Mono, place: float, extra: float, count: int) -> Mono:
    """`count` samples of `samples`, which are contiguous, from `place` on, a step of 1 + extra / count apart.

    `samples` has to reach REACH beyond what is read on both sides.
    """
    if abs(extra) > MOST_MOVED:
        first, moved = count // 2, extra * (count // 2) / count
        parts = (place, moved, first), (place + first + moved, extra - moved, count - first)
        return np.concatenate([interpolate(samples, *part) for part in parts])
    half = extra * (count - 1) / (2 * count)  # what the place moves by until the middle of the block
    middle = place + half
    whole = round(middle)
    kernels = _kernels(middle - whole, half)
    # Row k of this view is what tap k of a kernel is multiplied by. Copied, the product is twice as fast.
    taps: NDArray[np.float32] = np.ndarray(
        (2 * REACH + 1, count), np.float32, samples, 4 * (whole - REACH), (4, 4)
    )
    sounds = kernels @ taps.copy()
    sounds *= _shares(count)
    sound: Mono = np.add.reduce(sounds)
    return sound


def _kernels(middle: float, half: float) -> NDArray[np.float32]:
    """`[PLACES, tap]` for the places of a block, relative to the sample in the middle."""
    powers = np.empty((TERMS, PLACES), np.float32)
    powers[0] = 1
    powers[1:] = middle + half * _places()
    np.multiply.accumulate(powers, out=powers)
    kernels: NDArray[np.float32] = powers.T @ _farrow()
    return kernels


@functools.cache
def _places() -> NDArray[np.float64]:
    """Where in a block (-1 to 1) the sound is interpolated: a polynomial through these is wrong by the least."""
    places: NDArray[np.float64] = np.cos(np.pi * (np.arange(PLACES) + 0.5) / PLACES)
    return places


@functools.lru_cache(maxsize=64)
def _shares(count: int) -> NDArray[np.float32]:
    """`[PLACES, sample]`: what each place of a block of `count` samples counts for each of them (Lagrange)."""
    along, places = np.linspace(-1, 1, count), _places()
    factors = along - places[:, None]
    own = places[:, None] - places
    np.fill_diagonal(own, 1)
    rest = np.stack([np.delete(factors, i, 0).prod(0) for i in range(PLACES)])
    return np.asarray(rest / own.prod(1)[:, None], np.float32)


@functools.cache
def _farrow() -> NDArray[np.float32]:
    """`[TERMS, tap]`: the kernel for a place p from the middle is the sum of row m times p**m."""
    places = FARTHEST * np.cos(np.pi * (np.arange(TERMS) + 0.5) / TERMS)
    distance = places[:, None] - np.arange(-REACH, REACH + 1)
    window = np.i0(BETA * np.sqrt(np.clip(1 - (distance / HALF_LENGTH) ** 2, 0, None)))
    kernels = np.where(np.abs(distance) < HALF_LENGTH, np.sinc(distance) * window, 0)
    kernels /= kernels.sum(1, keepdims=True)
    powers = np.vander(places, TERMS, increasing=True)
    return np.asarray(np.linalg.solve(powers, kernels), np.float32)
