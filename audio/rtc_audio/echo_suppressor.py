"""Takes down the echo that the linear filter leaves: nonlinear loudspeakers, the room's tail, a path just changed."""

import numpy as np

from .echo import Mono
from .echo_filter import power

SMOOTHING = 0.3  # of power spectra, per frame
LEAKAGE_SMOOTHING = 0.06  # every other frame: a third of a second
LEAKAGE_RISE, LEAKAGE_STEP = 1.2, 2e-4  # every other frame; a fall is believed at once
OVERSUBTRACTION, OVERSUBTRACTION_ALONE = 2.0, 8.0  # always; and on top where nothing but echo is left
FLOOR = 0.02  # least gain
ATTACK, RELEASE = 0.6, 0.3  # of the gain, per frame
TINY = 1e-20


class ResidualSuppressor:
    """A gain for each frequency, from the share of the estimated echo that leaks into the error. Delays by one frame.

    The leakage is the regression of the error's power on the echo's. Their means are removed, so that somebody who
    talks at the same time does not raise it, while a path that has changed does.
    """

    def __init__(self, frame: int) -> None:
        self._frame = frame
        self._window = np.sqrt(np.hanning(2 * frame + 1)[:-1]).astype(np.float32)
        self._history = np.zeros((2, 2 * frame), np.float32)  # error, echo
        self._overlap = np.zeros(frame, np.float32)
        bins = frame + 1
        self._powers = np.zeros((2, bins), np.float32)
        self._means = np.zeros((2, bins), np.float32)
        self._moments = np.zeros((2, bins), np.float32)  # covariance of error and echo, variance of echo
        self._none = np.zeros(bins, np.float32)
        self._floor = np.full(bins, FLOOR, np.float32)
        self._leakage = np.empty(bins, np.float32)
        self._gain = np.empty(bins, np.float32)
        self.reset()

    def reset(self) -> None:
        """Forgets the sound so far and what was learnt."""
        for state in (self._history, self._overlap, self._powers, self._means, self._moments):
            state[:] = 0
        self._leakage[:] = 0.1
        self._gain[:] = 1
        self.leakage = 0.1
        self._learning = False

    def process(self, error: Mono, echo: Mono) -> Mono:
        """The error of one frame ago without the echo still in it; blocks of exactly `frame` samples."""
        frame = self._frame
        self._history[:, :frame] = self._history[:, frame:]
        self._history[0, frame:] = error
        self._history[1, frame:] = echo
        spectra = np.fft.rfft(self._history * self._window, axis=1)
        powers = power(spectra)
        self._powers += SMOOTHING * (powers - self._powers)
        self._learning = not self._learning
        if self._learning:
            self._learn(powers)
        self._update_gain()
        shaped = np.fft.irfft(spectra[0] * self._gain) * self._window
        result = (self._overlap + shaped[:frame]).astype(np.float32, copy=False)
        self._overlap[:] = shaped[frame:]
        return result

    def _learn(self, powers: Mono) -> None:
        powers = powers - self._means
        self._means += LEAKAGE_SMOOTHING * powers
        powers *= powers[1]
        powers -= self._moments
        powers *= LEAKAGE_SMOOTHING
        self._moments += powers
        covariance, variance = self._moments
        at_most = self._leakage
        at_most *= LEAKAGE_RISE
        at_most += LEAKAGE_STEP
        self._leakage = np.maximum(np.minimum(covariance / (variance + TINY), at_most), self._none)

    def _update_gain(self) -> None:
        error, echo = self._powers
        residual = self._leakage * echo
        total = float(residual.sum())
        self.leakage = total / (float(echo.sum()) + TINY)
        alone = min(1.0, total / (float(error.sum()) + TINY))
        residual *= OVERSUBTRACTION + OVERSUBTRACTION_ALONE * alone
        residual /= error + TINY
        change = np.maximum(1 - residual, self._floor)
        change -= self._gain
        change *= RELEASE
        self._gain += np.minimum(change, ATTACK / RELEASE * change)
