"""The networks of the voice bench, and what DESIGN §6 asks for on each."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from voice_link import Delays, both, bursty, jittery, lossy, pausing, skewed, stalling


@dataclass(frozen=True)
class Trace:
    """A network and its goals. PESQ is either asked for as a number or by its distance to NetEQ."""

    name: str
    delays: Callable[[int, int], Delays]  # number of packets, seed
    goal_ms: float
    neteq_pesq: float  # as the design has it, for machines where NetEQ cannot be heard
    neteq_ms: float
    goal_pesq: float | None = None
    above_neteq: float | None = None
    limit_ms: float = 31  # the delay of the fixed playout
    late: Literal["keep", "drop"] = "keep"
    last_second: bool = False  # whether the delay counts at the end, not in the median
    sender_ppm: float = 0


def _clean(count: int, seed: int) -> Delays:
    return [0.0] * count


def _lossy(share: float) -> Callable[[int, int], Delays]:
    return lambda count, seed: lossy(count, share, seed)


def _jittery(most: float) -> Callable[[int, int], Delays]:
    return lambda count, seed: jittery(count, most, seed)


def _reordered(count: int, seed: int) -> Delays:
    return jittery(count, 0.04, seed, ordered=False)


def _jittery_and_lossy(count: int, seed: int) -> Delays:
    return both(jittery(count, 0.06, seed), lossy(count, 0.05, seed + 100))


def _stalling(count: int, seed: int) -> Delays:
    return stalling(count)


def _skewed(count: int, seed: int) -> Delays:
    return skewed(count, 500)


STALL = "200 ms stall every 5 s"
TRACES = (
    Trace("clean", _clean, 42, 3.85, 58, 3.80),
    Trace("loss 1 %", _lossy(0.01), 58, 3.65, 71, None, 0.05, 51),
    Trace("loss 3 %", _lossy(0.03), 58, 3.52, 64, None, 0.05, 51),
    Trace("loss 5 %", _lossy(0.05), 58, 3.39, 69, None, 0.05, 51),
    Trace("loss 10 %", _lossy(0.10), 60, 2.77, 75, None, 0.05, 51),
    Trace("loss 20 %", _lossy(0.20), 60, 2.05, 69, None, 0.05, 51),
    Trace("bursts 5 %", bursty, 68, 3.07, 78, None, 0, 51),
    Trace("jitter 0-40 ms", _jittery(0.04), 85, 3.84, 96, 3.80, None, 71),
    Trace("jitter 0-40 ms, reordered", _reordered, 85, 3.84, 96, 3.80, None, 71),
    Trace("jitter 0-80 ms", _jittery(0.08), 120, 3.84, 129, 3.78, None, 111),
    Trace("jitter 0-60 ms + loss 5 %", _jittery_and_lossy, 115, 3.19, 124, 3.25, None, 111),
    Trace(STALL, _stalling, 170, 3.22, 245, 2.90, last_second=True),
    Trace(f'{STALL}, late="drop"', _stalling, 60, 3.22, 245, late="drop", last_second=True),
    Trace("sender clock +500 ppm", _skewed, 45, 3.82, 62, 3.80, sender_ppm=500),
)


@dataclass(frozen=True)
class LongCall:
    """Ten minutes of one network: the most that the delay may be, and how much of the sound may be silence put in.

    One phase of the pulls, not the mean over many: up to 5 ms more than on a trace.
    """

    name: str
    delays: Callable[[int], Delays]
    median_ms: float
    worst_ms: float
    silence_share: float
    sender_ppm: float = 0


def _outage(count: int) -> Delays:
    return [None if i % 3000 >= 2950 else 0.0 for i in range(count)]


LONG = (
    LongCall("clean", lambda n: [0.0] * n, 45, 70, 0.001),
    LongCall("jitter 0-60 ms", lambda n: jittery(n, 0.06, 7), 105, 150, 0.001),
    LongCall("loss 1 %", lambda n: lossy(n, 0.01, 7), 60, 130, 0.001),
    LongCall("loss 5 %", lambda n: lossy(n, 0.05, 7), 60, 150, 0.001),
    LongCall("loss 10 %", lambda n: lossy(n, 0.10, 7), 62, 180, 0.002),
    LongCall("loss 20 %", lambda n: lossy(n, 0.20, 7), 62, 250, 0.005),
    LongCall("bursts 5 %", lambda n: bursty(n, 7), 68, 400, 0.01),
    LongCall("1 s outage every minute", _outage, 68, 1150, 0.02),
    LongCall("200 ms stall every 5 s", lambda n: stalling(n), 190, 280, 0.03),
    LongCall("sender clock -500 ppm", lambda n: skewed(n, -500), 48, 70, 0.001, -500),
    LongCall("sender clock +500 ppm", lambda n: skewed(n, 500), 48, 70, 0.001, 500),
    LongCall("sender pauses 2 of 10 s", pausing, 48, 2100, 0.21),
)
