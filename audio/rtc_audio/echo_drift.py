"""Two sound cards, two crystals: the far end is read a little faster or slower, so that its echo stays where it is."""

import numpy as np
from numpy.typing import NDArray

from .echo import Mono
from .echo_line import BEHIND, DelayLine

MAX_DRIFT_PPM = 500.0
IGNORED_PPM = 3.0  # the filter follows that by itself
INTERVAL_SECONDS = 0.5  # of far-end sound between two looks at the path
SAME_PATH = 0.7  # coherence of two looks, below which the path has changed and nothing can be said
FIRST_GAIN, LAST_GAIN = (
    0.5,
    0.1,
)  # how much of a measured drift is corrected at once: crystals keep their rate
FARTHEST, OVERSAMPLING = 8, 8  # samples between two looks; steps for each


class DriftCompensator:
    """Delays a stream by an amount that slides with the drift between its clock and that of the reader.

    `drift_ppm` is positive where the echo arrives ever later. Set it if the clocks are known; else let
    `watch` find it from the trend of the echo path.
    """

    def __init__(self, rate_hz: int, max_delay_seconds: float) -> None:
        self._line = DelayLine(round(max_delay_seconds * rate_hz) + rate_hz // 10)
        self._max_delay = max_delay_seconds * rate_hz
        self._rate_hz = rate_hz
        self._trend = PathTrend()
        self.reset()

    def reset(self) -> None:
        """Forgets the sound, the delay and the drift."""
        self._line.clear()
        self._trend.reset()
        self._delay = float(BEHIND)  # samples; what the interpolation looks ahead
        self.drift_ppm = 0.0
        self._gain = FIRST_GAIN

    @property
    def delay_seconds(self) -> float:
        """By how much the stream is delayed now."""
        return self._delay / self._rate_hz

    def move(self, seconds: float) -> None:
        """Delays by `seconds` more from now on, as far as that is possible."""
        self._delay = self._limited(self._delay + seconds * self._rate_hz)
        self._trend.reset()

    def process(self, far: Mono) -> Mono:
        """Takes a block and gives one, delayed."""
        self._line.write(far)
        n = len(far)
        before = self._delay
        if abs(self.drift_ppm) > IGNORED_PPM:
            self._delay = self._limited(before + n * self.drift_ppm * 1e-6)
        return self._line.read(self._line.written - n - before, n, 1 - (self._delay - before) / n)

    def _limited(self, delay: float) -> float:
        return min(max(delay, float(BEHIND)), self._max_delay)

    def watch(self, path: NDArray[np.complex64], seconds: float, talking: bool) -> None:
        """Corrects the drift by how the echo path has moved: its spectrum after a block of so many seconds."""
        moved = self._trend.process(path, seconds, talking)
        if moved is None:
            return
        samples, seconds = moved
        self.drift_ppm += self._gain * samples / (seconds * self._rate_hz) * 1e6
        self.drift_ppm = min(max(self.drift_ppm, -MAX_DRIFT_PPM), MAX_DRIFT_PPM)
        self._gain = max(self._gain * 0.9, LAST_GAIN)


class PathTrend:
    """By how many samples the estimated echo path moves, from the phases of its spectrum at two times."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Takes the next path as the one to compare with."""
        self._reference: NDArray[np.complex64] | None = None
        self._seconds = self._talked_seconds = 0.0

    def process(
        self, path: NDArray[np.complex64], seconds: float, talking: bool
    ) -> tuple[float, float] | None:
        """(samples that the path `[partition, bin]` has become later, seconds in which it did), after enough sound."""
        self._seconds += seconds
        self._talked_seconds += seconds * talking
        if self._talked_seconds < INTERVAL_SECONDS:
            return None
        passed, reference = self._seconds, self._reference
        self._seconds = self._talked_seconds = 0.0
        self._reference = path.copy()
        if reference is None:
            return None
        moved = path_shift(reference, path)
        return None if moved is None else (moved, passed)


def path_shift(before: NDArray[np.complex64], after: NDArray[np.complex64]) -> float | None:
    """Samples by which the path `after` is later than `before`, both spectra `[partition, bin]`; None: another path.

    The peak of the correlation of both, to an eighth of a sample, and what phase is left then, by least squares: a
    delay of d samples turns bin k by −2πkd/N.
    """
    cross = (before.conj() * after).sum(0)
    size = 2 * (len(cross) - 1)
    correlation = np.fft.irfft(cross, OVERSAMPLING * size)
    reach = FARTHEST * OVERSAMPLING
    near_zero = np.concatenate((correlation[-reach:], correlation[: reach + 1]))
    coarse = (int(near_zero.argmax()) - reach) / OVERSAMPLING
    radians = 2 * np.pi / size * np.arange(len(cross))  # per sample of delay
    straight = cross * np.exp(1j * radians * coarse)
    length = float(np.linalg.norm(before) * np.linalg.norm(after))
    if length == 0 or straight.sum().real < SAME_PATH * length:
        return None
    weight = np.abs(straight)
    return coarse - float((weight * radians * np.angle(straight)).sum() / (weight * radians**2).sum())
