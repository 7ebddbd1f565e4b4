"""The linear part of echo cancellation: the path from loudspeaker to microphone, tracked by a Kalman filter.

Partitioned-block frequency-domain Kalman filter with diagonal covariances: G. Enzner, P. Vary, "Frequency-domain
adaptive Kalman filter for acoustic echo control in hands-free telephones", Signal Processing 86 (2006); F. Kuech,
E. Mabande, G. Enzner, "State-space architecture of the partitioned-block-based acoustic echo controller", ICASSP 2014.
"""

from typing import Any, TypeAlias, cast

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from .echo import Mono

Spectrum: TypeAlias = NDArray[np.complex64]

FRAMES = 2  # in a block: the path is corrected for each of them, all else is done once
INITIAL_UNCERTAINTY = 0.1  # of a path in every bin of every partition; 1 makes the first two seconds worse
OVERLAP_SAVE_SHARE = (
    0.7  # of the far end's power in the error; half of each frame is zero, windowing blurs that
)
ERROR_SMOOTHING = np.float32(0.4)  # per frame, of the error's power spectrum
CONSTRAINED = 4  # one partition in so many is made causal, in every other block
TINY = np.float32(1e-10)


class EchoPathFilter:
    """Estimates the echo of `far` in `near` and takes it away. No delay; blocks of exactly two frames.

    `frame` are the samples of a frame, `memory` is the factor by which the path is believed to stay the same from frame
    to frame: less follows changes faster, more cancels deeper. `path` is the spectrum of the estimate,
    `[partition, bin]`, a row for each frame of delay.
    """

    def __init__(self, frame: int, partitions: int, memory: float = 0.998) -> None:
        self._frame, self._partitions = frame, partitions
        self._forget = np.float32(memory ** (2 * FRAMES))
        bins = frame + 1
        self._ones = np.ones(partitions, np.float32)
        self._causal = np.repeat(np.array([2 * frame, 0], np.float32), frame)
        self._response = np.empty(2 * frame, np.float32)
        self._responses = np.empty((-(-partitions // CONSTRAINED), 2 * frame), np.float32)
        self._far = np.zeros((1 + FRAMES) * frame, np.float32)
        self._far_frames = sliding_window_view(self._far, 2 * frame)[::-frame]  # newest first
        # The newest `partitions` rows, newest first, begin at `_row`, which moves to the front and starts over.
        rows = 3 * partitions
        self._spectra = np.zeros((rows, bins), np.complex64)
        self._powers = np.zeros((rows, bins), np.float32)
        self._error = np.zeros(2 * frame, np.float32)  # silence and a frame
        self._error_spectrum = np.empty(bins, np.complex64)
        self._error_power = np.zeros(bins, np.float32)
        self.path = np.zeros((partitions, bins), np.complex64)
        self._uncertainty = np.empty((partitions, bins), np.float32)  # variance of the path's error
        self._complex, self._real = np.empty_like(self.path), np.empty_like(self._uncertainty)
        self.reset()

    def reset(self) -> None:
        """Forgets the path and the sound so far."""
        for state in (self._far, self._spectra, self._powers, self._error, self._error_power):
            state[:] = 0
        self._row = len(self._spectra) - self._partitions
        self._turn = 0
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
        partitions = self._partitions
        frames = max(-partitions, min(frames, partitions))
        kept = slice(max(frames, 0), partitions + min(frames, 0))
        moved = slice(max(-frames, 0), partitions - max(frames, 0))
        now = slice(self._row, self._row + partitions)
        for state, blank in (
            (self.path, 0.0),
            (self._uncertainty, INITIAL_UNCERTAINTY),
            (self._spectra[now], 0.0),
            (self._powers[now], 0.0),
        ):
            known = state[kept].copy()
            state[:] = blank
            state[moved] = known
        self._far[-2 * self._frame :] = 2 * self._frame * np.fft.irfft(self._spectra[self._row])

    def process(self, far: Mono, near: Mono, *, silent: bool = False) -> tuple[Mono, Mono]:
        """`near` without the echo, and the echo that was taken away.

        `silent`: there has been no far-end sound as long as the path; there is no echo, and nothing to learn.
        """
        self._remember(far)
        if silent:
            return near, np.zeros_like(near)
        frame, partitions = self._frame, self._partitions
        error, echo = np.empty_like(near), np.empty_like(near)
        for at in range(FRAMES):
            now, row = slice(at * frame, (at + 1) * frame), self._row + FRAMES - 1 - at
            spectra = self._spectra[row : row + partitions]
            heard = np.dot(self._ones, np.multiply(spectra, self.path, out=self._complex).view(np.float32))
            echo[now] = transform_back(heard.view(np.complex64), self._response)[frame:]
            np.subtract(near[now], echo[now], out=error[now])
            np.multiply(error[now], 2 * frame, out=self._error[frame:])
            self._correct(
                spectra, self._powers[row : row + partitions], transform(self._error, self._error_spectrum)
            )
        self._constrain()
        self._predict()
        return error, echo

    def _remember(self, far: Mono) -> None:
        frame, partitions = self._frame, self._partitions
        self._far[:frame] = self._far[-frame:]
        np.multiply(far, 2 * frame, out=self._far[frame:])
        if self._row < FRAMES:
            for ring in (self._spectra, self._powers):
                ring[-partitions:] = ring[self._row : self._row + partitions]
            self._row = len(self._spectra) - partitions
        self._row -= FRAMES
        newest = slice(self._row, self._row + FRAMES)
        spectra = transform(self._far_frames, self._spectra[newest])
        np.multiply(power(spectra), OVERLAP_SAVE_SHARE, out=self._powers[newest])

    def _correct(self, spectra: Spectrum, powers: Mono, error: Spectrum) -> None:
        """The Kalman update, by the error of one frame."""
        self._error_power += ERROR_SMOOTHING * (power(error) - self._error_power)
        uncertain = np.multiply(self._uncertainty, powers, out=self._real)
        gain = self._uncertainty * (1 / (np.dot(self._ones, uncertain) + self._error_power + TINY))
        uncertain *= gain
        self._uncertainty -= uncertain
        update = np.conjugate(spectra, out=self._complex)
        update *= error
        update *= gain
        self.path += update

    def _predict(self) -> None:
        """What may have become of the path by the next block."""
        growth = np.multiply(power(self.path), 1 - self._forget, out=self._real)
        growth += TINY
        self._uncertainty *= self._forget
        self._uncertainty += growth

    def _constrain(self) -> None:
        """Keeps partitions causal filters of one frame: some in every other block, by turns."""
        self._turn = (self._turn + 1) % (2 * CONSTRAINED)
        if self._turn % 2:
            return
        rows = self.path[self._turn // 2 :: CONSTRAINED]
        responses = transform_back(rows, self._responses[: len(rows)])
        responses *= self._causal
        transform(responses, rows)


def transform(pcm: Mono, out: Spectrum) -> Spectrum:
    """The spectrum of the last axis, over its length: where numpy scales it computes in float32, else in float64."""
    np.fft.rfft(pcm, norm="forward", out=cast("Any", out))  # the stubs know float64 only
    return out


def transform_back(spectrum: Spectrum, out: Mono) -> Mono:
    """The sound of a spectrum that was not divided by its length."""
    np.fft.irfft(spectrum, out=cast("Any", out))  # as above
    return out


def power(spectrum: NDArray[np.complexfloating]) -> Mono:
    """|spectrum|², float32."""
    result: Mono = (spectrum * spectrum.conj()).real
    return result
