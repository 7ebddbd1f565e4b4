"""How long the echo takes, from what was played and what was heard."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .echo import Mono, mean_square
from .echo_filter import power

ANALYSIS_RATE_HZ = 4000  # enough for the delay, and cheap
SPAN = (
    2000  # samples of the analysis, 0.5 s: the longest delay that is found, and what of `near` is looked at
)
EVERY_SECONDS = 0.25
FORGET = 0.6  # per analysis: the spectra remember half a second
CLEAR_PEAK = 8.0  # times the RMS of the estimated response
SAME_SECONDS = 0.002
AROUND = 4  # samples of the analysis
CONFIRMATIONS, LATER_CONFIRMATIONS = 2, 3  # estimates in a row that agree: the first time, and then


class Sighting(NamedTuple):
    """An echo in the near end."""

    delay_seconds: float | None
    """After the far end; None as long as sightings do not agree."""
    left: float
    """How much of it the canceller has left, as amplitudes."""


class BulkDelay:
    """The delay of the strongest echo path, 0 to 0.5 s, once some estimates in a row agree.

    The response from far to near is estimated by averaged cross-spectra over the far end's spectrum, at 4 kHz; its
    highest peak counts if it stands clear of the rest.
    """

    def __init__(self, rate_hz: int) -> None:
        self._rate_hz = rate_hz
        factor = rate_hz // ANALYSIS_RATE_HZ
        self._average = np.full(factor, 1 / factor, np.float32)
        self._sound = np.zeros((3, 2 * SPAN * factor), np.float32)  # far, near, error; a ring
        self._cross = np.zeros((2, SPAN + 1), np.complex64)  # with near, with error
        self._power = np.zeros(SPAN + 1, np.float32)
        self.reset()

    def reset(self) -> None:
        """Forgets the sound so far."""
        for state in (self._sound, self._cross, self._power):
            state[:] = 0
        self._at = self._talked = 0
        self._candidate = -1.0
        self._agreed = 0
        self._needed = CONFIRMATIONS

    def process(self, far: Mono, near: Mono, error: Mono, talking: bool) -> Sighting | None:
        """Takes a block of both, and what is left of `near`; four times a second, whether there is an echo.

        Blocks are parts of half a second. Only those in which the far end is `talking` count as time.
        """
        n = len(far)
        now = slice(self._at, self._at + n)
        for ring, pcm in zip(self._sound, (far, near, error), strict=True):
            ring[now] = pcm
        self._at = (self._at + n) % self._sound.shape[1]
        self._talked += n * talking
        if self._talked < EVERY_SECONDS * self._rate_hz:
            return None
        self._talked = 0
        return self._look()

    def _look(self) -> Sighting | None:
        near, error = self._responses()
        peak = int(near.argmax())
        if near[peak] ** 2 < CLEAR_PEAK**2 * mean_square(near):
            return None
        left = error[max(peak - AROUND, 0) : peak + AROUND + 1].max() / near[peak]
        return Sighting(self._confirm(peak / ANALYSIS_RATE_HZ), float(left))

    def _responses(self) -> NDArray[np.float32]:
        """`[2, SPAN]`: magnitudes of the responses from far to near and to error."""
        average = self._average
        sound = self._sound.reshape(3, 2 * SPAN, len(average)) @ average
        sound = np.roll(sound, -(self._at // len(average)), axis=1)
        sound[1:, :SPAN] = 0  # so that every lag up to SPAN finds all of its far end
        far, *heard = np.fft.rfft(sound, norm="forward")
        self._cross *= FORGET
        self._cross += far.conj() * heard
        self._power *= FORGET
        self._power += power(far)
        floor = 1e-2 * float(self._power.mean()) + 1e-12
        return np.abs(np.fft.irfft(self._cross * (1 / (self._power + floor)))[:, :SPAN])

    def _confirm(self, delay: float) -> float | None:
        self._agreed = self._agreed + 1 if abs(delay - self._candidate) < SAME_SECONDS else 1
        self._candidate = delay
        if self._agreed < self._needed:
            return None
        self._needed = LATER_CONFIRMATIONS
        return delay
