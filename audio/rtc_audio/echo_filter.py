"""The linear part of echo cancellation: the path from loudspeaker to microphone, tracked by a Kalman filter.

Partitioned-block frequency-domain Kalman filter with diagonal covariances: G. Enzner, P. Vary, "Frequency-domain
adaptive Kalman filter for acoustic echo control in hands-free telephones", Signal Processing 86 (2006); F. Kuech,
E. Mabande, G. Enzner, "State-space architecture of the partitioned-block-based acoustic echo controller", ICASSP 2014.
"""

import numpy as np
from numpy.typing import NDArray

from .echo import Mono

INITIAL_UNCERTAINTY = 0.1  # of a path in every bin of every partition; 1 makes the first two seconds worse
OVERLAP_SAVE_SHARE = (
    0.7  # of the far end's power in the error; half of each block is zero, windowing blurs that
)
ERROR_SMOOTHING = np.float32(0.4)  # per frame, of the error's power spectrum
CONSTRAINED = 4  # one partition in so many is made causal, in every other frame
TINY = np.float32(1e-10)


class EchoPathFilter:
    """Estimates the echo of `far` in `near` and takes it away. No delay; blocks of exactly `frame` samples.

    `memory` is the factor by which the path is believed to stay the same from frame to frame: less follows changes
    faster, more cancels deeper. `path` is the spectrum of the estimate, `[partition, bin]`, a row for each frame of
    delay.
    """

    def __init__(self, frame: int, partitions: int, memory: float = 0.998) -> None:
        self._frame, self._forget = frame, memory**2
        self._blocks = np.zeros((2, 2 * frame), np.float32)  # far: two frames; error: zeros and a frame
        bins = frame + 1
        # A window of rows, newest first, slides up through twice as many: every block is stored twice.
        self._spectra = np.zeros((2 * partitions, bins), np.complex64)
        self._powers = np.zeros((2 * partitions, bins), np.float32)
        self._error_power = np.zeros(bins, np.float32)
        self.path = np.zeros((partitions, bins), np.complex64)
        self._uncertainty = np.empty((partitions, bins), np.float32)  # variance of the path's error
        self.reset()

    def reset(self) -> None:
        """Forgets the path and the sound so far."""
        for state in (self._blocks, self._spectra, self._powers, self._error_power):
            state[:] = 0
        self._row = self._turn = 0
        self.forget_path()

    def forget_path(self) -> None:
        """Forgets the path only."""
        self.path[:] = 0
        self._uncertainty[:] = INITIAL_UNCERTAINTY

    def doubt(self, share: float) -> None:
        """Lets `share` of the path's power be in question at least: it has changed, and is learnt faster."""
        np.maximum(self._uncertainty, share * power(self.path), out=self._uncertainty)

    def shift(self, frames: int) -> None:
        """`far` comes `frames` later from the next block on: what is known of the path moves to the front."""
        partitions = len(self.path)
        frames = max(-partitions, min(frames, partitions))
        kept = slice(max(frames, 0), partitions + min(frames, 0))
        moved = slice(max(-frames, 0), partitions - max(frames, 0))
        for state, blank in ((self.path, 0.0), (self._uncertainty, INITIAL_UNCERTAINTY)):
            known = state[kept].copy()
            state[:] = blank
            state[moved] = known
        for ring in (self._spectra, self._powers):
            known = ring[self._row : self._row + partitions][kept].copy()
            ring[:] = 0
            ring[:partitions][moved] = known
            ring[partitions:] = ring[:partitions]
        self._row = 0
        self._blocks[0] = np.fft.irfft(self._spectra[0])

    def process(self, far: Mono, near: Mono, *, silent: bool = False) -> tuple[Mono, Mono]:
        """`near` without the echo, and the echo that was taken away.

        `silent`: there has been no far-end sound as long as the path; there is no echo, and nothing to learn.
        """
        frame, partitions = self._frame, len(self.path)
        self._remember(far)
        if silent:
            return near, np.zeros(frame, np.float32)
        spectra = self._spectra[self._row : self._row + partitions]
        echo = np.fft.irfft((spectra * self.path).sum(0))[frame:].astype(np.float32, copy=False)
        error = near - echo
        self._blocks[1, frame:] = error
        self._adapt(spectra, np.fft.rfft(self._blocks[1]).astype(np.complex64, copy=False))
        return error, echo

    def _remember(self, far: Mono) -> None:
        frame, partitions = self._frame, len(self.path)
        block = self._blocks[0]
        block[:frame] = block[frame:]
        block[frame:] = far
        self._row = (self._row - 1) % partitions
        spectrum = np.fft.rfft(block)
        self._spectra[self._row] = self._spectra[self._row + partitions] = spectrum
        counted = OVERLAP_SAVE_SHARE * power(spectrum)
        self._powers[self._row] = self._powers[self._row + partitions] = counted

    def _adapt(self, spectra: NDArray[np.complex64], error: NDArray[np.complex64]) -> None:
        self._error_power += ERROR_SMOOTHING * (power(error) - self._error_power)
        uncertain = self._uncertainty * self._powers[self._row : self._row + len(self.path)]
        step = self._uncertainty / (uncertain.sum(0) + self._error_power + TINY)
        update = spectra.conj()
        update *= error
        update *= step
        self.path += update
        self._constrain()
        uncertain *= step
        self._uncertainty -= uncertain
        self._uncertainty *= self._forget
        growth = power(self.path)
        growth *= 1 - self._forget
        growth += TINY
        self._uncertainty += growth

    def _constrain(self) -> None:
        """Keeps partitions causal filters of one frame: some in every other call, by turns."""
        self._turn = (self._turn + 1) % (2 * CONSTRAINED)
        if self._turn % 2:
            return
        rows = self.path[self._turn // 2 :: CONSTRAINED]
        response = np.fft.irfft(rows, axis=1)
        response[:, self._frame :] = 0
        rows[:] = np.fft.rfft(response, axis=1)


def power(spectrum: NDArray[np.complexfloating]) -> Mono:
    """|spectrum|², float32."""
    result: Mono = (spectrum * spectrum.conj()).real.astype(np.float32, copy=False)
    return result
