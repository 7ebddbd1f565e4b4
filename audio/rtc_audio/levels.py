"""Levels and how they change: RMS and peak in dBFS, meters with ballistics, gain ramps, joints without clicks.

0 dBFS is a sample of ±1.0 for peaks and a mean square of 1.0 for RMS, so that a full-scale sine has −3 dBFS RMS.
"""

import math

import numpy as np
from numpy.typing import NDArray

from .format import check_channels, check_rate
from .ports import Pcm

FLOOR_DBFS = -120.0
"""What stands for silence: finite, so that it can be averaged, drawn and written as JSON."""

RAMP_SECONDS = 0.005
"""Long enough not to click, short enough not to be heard as a fade."""


def to_dbfs(amplitude: float) -> float:
    """An amplitude (1.0 = full scale) in dBFS, at least FLOOR_DBFS."""
    return max(20.0 * math.log10(amplitude), FLOOR_DBFS) if amplitude > 0 else FLOOR_DBFS


def rms_dbfs(pcm: NDArray[np.float32]) -> float:
    """RMS level over all frames and channels; FLOOR_DBFS for an empty array."""
    return to_dbfs(math.sqrt(_mean_square(pcm)))


def peak_dbfs(pcm: NDArray[np.float32]) -> float:
    """Level of the largest sample of any channel; FLOOR_DBFS for an empty array."""
    return to_dbfs(_peak(pcm))


class LevelMeter:
    """RMS with an exponential window, and a peak that holds, then falls: what a level display shows.

    Time is the duration of the sound itself; there is no clock inside.
    """

    def __init__(
        self, *, window_seconds: float = 0.3, hold_seconds: float = 0.5, fall_db_per_second: float = 20.0
    ) -> None:
        self._window_seconds = window_seconds
        self._hold_seconds = hold_seconds
        self._fall_db_per_second = fall_db_per_second
        self._mean_square = 0.0
        self._peak_db = FLOOR_DBFS
        self._since_peak = 0.0

    @property
    def rms_dbfs(self) -> float:
        """RMS over about the last `window_seconds`."""
        return to_dbfs(math.sqrt(self._mean_square))

    @property
    def peak_dbfs(self) -> float:
        """The latest maximum, held for `hold_seconds`, then falling."""
        return self._peak_db

    def update(self, pcm: NDArray[np.float32], seconds: float) -> None:
        """Take a block that lasts `seconds`."""
        keep = math.exp(-seconds / self._window_seconds)
        self._mean_square = keep * self._mean_square + (1 - keep) * _mean_square(pcm)
        before, self._since_peak = self._since_peak, self._since_peak + seconds
        falling = self._since_peak - max(before, self._hold_seconds)
        fallen = self._peak_db - max(0.0, falling) * self._fall_db_per_second
        peak = to_dbfs(_peak(pcm))
        if peak >= fallen:
            self._since_peak = 0.0
        self._peak_db = max(peak, fallen, FLOOR_DBFS)


class Ramp:
    """A gain that moves to its target along a raised cosine, whenever the target is set."""

    def __init__(self, rate_hz: int, gain: float = 1.0, *, ramp_seconds: float = RAMP_SECONDS) -> None:
        self._curve = rise(round(check_rate(rate_hz) * ramp_seconds))
        self._from = self._target = gain
        self._at = len(self._curve)

    @property
    def target(self) -> float:
        """The gain that is being moved to; setting it begins a ramp from where the gain is now."""
        return self._target

    @target.setter
    def target(self, gain: float) -> None:
        if gain != self._target:
            self._from, self._target, self._at = self.gain, gain, 0

    @property
    def gain(self) -> float:
        """The gain of the last frame."""
        reached = self._curve[self._at - 1] if self._at else 0.0
        return self._target if self.settled else float(self._from + (self._target - self._from) * reached)

    @property
    def settled(self) -> bool:
        """True when the target is reached."""
        return self._at == len(self._curve)

    def apply(self, pcm: Pcm) -> Pcm:
        """The sound `[frame, channel]` at this gain; the same array if the gain is one."""
        if self.settled:
            return pcm if self._target == 1.0 else pcm * np.float32(self._target)
        part = self._curve[self._at : self._at + len(pcm)]
        gains = np.full(len(pcm), self._target, np.float32)
        gains[: len(part)] = self._from + (self._target - self._from) * part
        self._at += len(part)
        return pcm * gains[:, None]


class Seam:
    """Joins sound and silence without clicks, without delay.

    Where the sound stops, its last frame leaves along a raised cosine; where it begins after silence, it is faded in.
    """

    def __init__(self, rate_hz: int, channels: int, *, ramp_seconds: float = RAMP_SECONDS) -> None:
        self._rise = rise(round(check_rate(rate_hz) * ramp_seconds))[:, None]
        self._channels = check_channels(channels)
        self._last = np.zeros(channels, np.float32)  # the frame that came out last
        self._leaving = self._last  # the frame that is fading away
        self._left = len(self._rise)  # frames of its way that are done
        self._risen = 0  # frames of the fade-in that are done; 0 in silence

    @property
    def silent(self) -> bool:
        """True when nothing is left of the sound before."""
        return self._left == len(self._rise) and not self._risen

    def fill(self, pcm: Pcm, n: int) -> Pcm:
        """Exactly n frames `[n, channel]` that begin with `pcm`, which has at most n; may be `pcm` itself."""
        count = len(pcm)
        if count == n and self._left == self._risen == len(self._rise):
            if n:
                self._last = pcm[-1].copy()
            return pcm
        out = np.zeros((n, self._channels), np.float32)
        self._add_leaving(out)
        self._add_entering(out, pcm)
        if count < n and (count or self._risen):
            self._leaving = out[count - 1].copy() if count else self._last
            self._left = self._risen = 0
            out[count:] = 0.0
            self._add_leaving(out[count:])
        if n:
            self._last = out[-1].copy()
        return out

    def cut(self) -> None:
        """Say that the next frames do not follow the last one: they are cross-faded."""
        self._leaving, self._left, self._risen = self._last, 0, 0

    def _add_leaving(self, out: Pcm) -> None:
        part = self._rise[self._left : self._left + len(out)]
        out[: len(part)] += self._leaving * (1 - part)
        self._left += len(part)

    def _add_entering(self, out: Pcm, pcm: Pcm) -> None:
        part = self._rise[self._risen : self._risen + len(pcm)]
        out[: len(part)] += pcm[: len(part)] * part
        out[len(part) : len(pcm)] += pcm[len(part) :]
        self._risen += len(part)


def rise(frames: int) -> NDArray[np.float32]:
    """A raised cosine from above zero to exactly one, `[frames]`; one minus it is the way down."""
    steps = np.arange(1, frames + 1) / max(frames, 1)
    curve: NDArray[np.float64] = (1 - np.cos(np.pi * steps)) / 2
    return curve.astype(np.float32)


def _mean_square(pcm: NDArray[np.float32]) -> float:
    flat = pcm.ravel()
    return float(np.dot(flat, flat)) / flat.size if flat.size else 0.0


def _peak(pcm: NDArray[np.float32]) -> float:
    return max(float(pcm.max()), -float(pcm.min())) if pcm.size else 0.0
