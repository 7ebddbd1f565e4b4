"""Sample formats and channel counts: int16 ↔ float32, mono ↔ many, and the one place that looks for NaN."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import UnsupportedFormat
from .ports import Pcm

MAX_RATE_HZ = 768_000
_FULL_SCALE = 32768.0
_ABSURD = 1e6


def check_rate(rate_hz: int) -> int:
    """The rate itself; raises UnsupportedFormat unless it is an integer that a sound device could have."""
    if type(rate_hz) is not int or not 0 < rate_hz <= MAX_RATE_HZ:
        raise UnsupportedFormat(f"rate_hz={rate_hz!r}: need an integer from 1 to {MAX_RATE_HZ}")
    return rate_hz


def check_channels(channels: int) -> int:
    """The count itself; raises UnsupportedFormat unless it is a positive integer."""
    if type(channels) is not int or channels < 1:
        raise UnsupportedFormat(f"channels={channels!r}: need a positive integer")
    return channels


def to_float32(x: NDArray[Any]) -> Pcm:
    """Samples as float32 `[frame, channel]`, full scale ±1.0.

    Takes int16 or float32, `[frame]` or `[frame, channel]`; float32 comes back without a copy.
    Raises UnsupportedFormat for any other dtype or shape: nothing is converted silently.
    """
    if x.ndim not in (1, 2):
        raise UnsupportedFormat(f"samples of shape {list(x.shape)}: need [frame] or [frame, channel]")
    pcm = x if x.ndim == 2 else x[:, None]
    if pcm.shape[1] == 0:
        raise UnsupportedFormat("samples without a channel: need [frame] or [frame, channel]")
    if pcm.dtype == np.float32:
        return pcm
    if pcm.dtype == np.int16:
        floats: Pcm = np.multiply(pcm, np.float32(1 / _FULL_SCALE), dtype=np.float32)
        return floats
    raise UnsupportedFormat(f"{pcm.dtype} samples: need float32 or int16")


def to_int16(x: NDArray[np.float32]) -> NDArray[np.int16]:
    """Samples as int16 of the same shape: rounded to nearest, saturated, not dithered; NaN becomes zero."""
    scaled = np.multiply(x, np.float32(_FULL_SCALE))
    np.rint(scaled, out=scaled)
    np.clip(scaled, -_FULL_SCALE, _FULL_SCALE - 1, out=scaled)
    if np.isnan(scaled.min(initial=0.0)):
        scaled[np.isnan(scaled)] = 0.0
    return scaled.astype(np.int16)


def mix_channels(pcm: Pcm, channels: int) -> Pcm:
    """The same sound in `channels` channels.

    Down to one: the mean, so that what is equal in all channels keeps its level and nothing can clip. Up from
    one: copies. Any other change goes through one channel. Equal counts come back without a copy.
    Raises UnsupportedFormat for a count below one.
    """
    if pcm.shape[1] == check_channels(channels):
        return pcm
    mono: Pcm = pcm if pcm.shape[1] == 1 else pcm.mean(axis=1, keepdims=True, dtype=np.float32)
    return mono if channels == 1 else np.repeat(mono, channels, axis=1)


def replace_nonfinite(pcm: NDArray[np.float32]) -> int:
    """Set to zero, in place, what is not sound: NaN, infinity, and values that would soon overflow (beyond ±10⁶).

    Returns how many samples there were.
    """
    good = np.abs(pcm) <= _ABSURD
    if good.all():
        return 0
    pcm[~good] = 0.0
    return int(good.size - np.count_nonzero(good))
