"""Takes down the echo that the linear filter leaves: nonlinear loudspeakers, the room's tail, a path just changed."""

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from .echo import Mono
from .echo_filter import FRAMES, power, transform, transform_back

SMOOTHING = 0.5  # of power spectra, per block
LEAKAGE_SMOOTHING = 0.06  # per block: a third of a second
LEAKAGE_RISE, LEAKAGE_STEP = 1.2, 2e-4  # per block; a fall is believed at once
OVERSUBTRACTION, OVERSUBTRACTION_ALONE = 2.0, 8.0  # always; and on top where nothing but echo is left
FLOOR, OPEN = 0.02, 0.999  # least gain, and what is as good as one
ATTACK, RELEASE = 0.84, 0.5  # of the gain, per block
TINY = 1e-20


class ResidualSuppressor:
    """A gain for each frequency, from the share of the estimated echo that leaks into the error. Delays by one frame.

    The leakage is the regression of the error's power on the echo's. Their means are removed, so that somebody who
    talks at the same time does not raise it, while a path that has changed does.
    """

    def __init__(self, frame: int) -> None:
        self._frame = frame
        self._window = np.sqrt(np.hanning(2 * frame + 1)[:-1]).astype(np.float32)
        self._falling = self._window[frame:] ** 2
        self._scaled_window = 2 * frame * self._window  # `transform` divides by as much
        self._history = np.zeros((2, (1 + FRAMES) * frame), np.float32)  # error, echo
        self._frames = sliding_window_view(self._history, 2 * frame, axis=1)[:, ::frame]
        self._windowed = np.empty((2, FRAMES, 2 * frame), np.float32)
        self._spectra = np.empty((2, FRAMES, frame + 1), np.complex64)
        self._shaped = np.empty((FRAMES, 2 * frame), np.float32)
        self._overlap = np.zeros(frame, np.float32)
        bins = frame + 1
        self._ones = np.ones(bins, np.float32)
        self._powers = np.zeros((2, bins), np.float32)
        self._means = np.zeros((2, bins), np.float32)
        self._moments = np.zeros((2, bins), np.float32)  # covariance of error and echo, variance of echo
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

    def process(self, error: Mono, echo: Mono, *, silent: bool = False) -> Mono:
        """The error of one frame ago without the echo still in it; blocks of exactly two frames.

        `silent`: there is no echo; once the gain has risen, nothing is done and nothing forgotten.
        """
        frame = self._frame
        self._history[:, :frame] = self._history[:, -frame:]
        self._history[0, frame:] = error
        self._history[1, frame:] = echo
        if silent and self._gain.min() > OPEN:
            self._gain[:] = 1
            np.multiply(self._history[0, -frame:], self._falling, out=self._overlap)
            return self._history[0, :-frame].copy()
        np.multiply(self._frames, self._scaled_window, out=self._windowed)
        spectra = transform(self._windowed, self._spectra)
        powers = power(spectra).sum(1)
        self._powers += SMOOTHING * (powers - self._powers)
        self._learn(powers)
        self._update_gain()
        shaped = transform_back(spectra[0] * self._gain, self._shaped)
        shaped *= self._window
        result = shaped[:, :frame].copy()
        result[0] += self._overlap
        result[1:] += shaped[:-1, frame:]
        self._overlap[:] = shaped[-1, frame:]
        return result.ravel()

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
        np.minimum(covariance / (variance + TINY), at_most, out=self._leakage)
        np.maximum(self._leakage, 0, out=self._leakage)

    def _update_gain(self) -> None:
        error, echo = self._powers
        error_total, echo_total = (self._powers @ self._ones).tolist()
        leaked = float(np.dot(self._leakage, echo))
        self.leakage = leaked / (echo_total + TINY)
        alone = min(1.0, leaked / (error_total + TINY))
        residual = self._leakage * echo
        residual *= OVERSUBTRACTION + OVERSUBTRACTION_ALONE * alone
        residual /= error + TINY
        change = np.maximum(1 - residual, FLOOR)
        change -= self._gain
        change *= RELEASE
        self._gain += np.minimum(change, ATTACK / RELEASE * change)
