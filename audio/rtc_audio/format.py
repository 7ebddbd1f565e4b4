"""Sample formats and channel counts: int16 ↔ float32, mono ↔ many, and the one place that looks for NaN."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import UnsupportedFormat
from .ports import Pcm

_FULL_SCALE = 32768.0


def check_rate(rate_hz: int) -> int:
    """The rate itself; raises UnsupportedFormat unless it is a positive integer."""
    if type(rate_hz) is not int or rate_hz <= 0:
        raise UnsupportedFormat(f"rate_hz={rate_hz!r}: need a positive integer")
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
    """Samples as int16 of the same shape: rounded to nearest, saturated, not dithered. Expects finite samples."""
    scaled = np.multiply(x, np.float32(_FULL_SCALE))
    np.rint(scaled, out=scaled)
    np.clip(scaled, -_FULL_SCALE, _FULL_SCALE - 1, out=scaled)
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


def all_finite(pcm: NDArray[np.float32]) -> bool:
    """True if no sample is NaN or infinite; 1 µs for 20 ms, because the usual answer comes from one product."""
    flat = pcm.ravel()
    return bool(np.isfinite(np.dot(flat, flat))) or bool(np.isfinite(flat).all())


def replace_nonfinite(pcm: NDArray[np.float32]) -> int:
    """Set NaN and infinite samples to zero, in place; returns how many there were."""
    if all_finite(pcm):
        return 0
    bad = ~np.isfinite(pcm)
    pcm[bad] = 0.0
    return int(bad.sum())
