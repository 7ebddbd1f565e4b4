"""Sample formats and channel counts."""

from typing import Any

import numpy as np
import pytest

from rtc_audio import UnsupportedFormat
from rtc_audio.format import (
    check_channels,
    check_rate,
    mix_channels,
    replace_nonfinite,
    to_float32,
    to_int16,
)


def test_int16_survives_the_way_to_float_and_back() -> None:
    every = np.arange(-32768, 32768, dtype=np.int16)
    floats = to_float32(every)
    assert floats.dtype == np.float32
    assert floats.shape == (65536, 1)
    assert (floats.min(), floats.max()) == (-1.0, 32767 / 32768)
    np.testing.assert_array_equal(to_int16(floats)[:, 0], every)


def test_float32_is_not_copied() -> None:
    pcm = np.zeros((10, 2), np.float32)
    assert to_float32(pcm) is pcm


def test_to_int16_rounds_and_saturates() -> None:
    x = np.array([2.0, -2.0, 1.0, 1.4 / 32768, -1.6 / 32768, np.nan, np.inf], np.float32)
    assert to_int16(x).tolist() == [32767, -32768, 32767, 1, -2, 0, 32767]


def test_mixing_keeps_the_level_of_what_is_equal_in_all_channels() -> None:
    mono = np.linspace(-1, 1, 9, dtype=np.float32)[:, None]
    stereo = mix_channels(mono, 2)
    assert stereo.shape == (9, 2)
    np.testing.assert_array_equal(mix_channels(stereo, 1), mono)
    assert mix_channels(mono, 1) is mono
    assert mix_channels(np.ones((4, 6), np.float32), 2).shape == (4, 2)


def test_nonfinite_samples_become_zero_and_are_counted() -> None:
    pcm = np.array([[1.0, np.nan], [np.inf, 0.5], [-np.inf, 0.0]], np.float32)
    assert replace_nonfinite(pcm) == 3
    assert pcm.tolist() == [[1.0, 0.0], [0.0, 0.5], [0.0, 0.0]]
    assert replace_nonfinite(pcm) == 0


def test_what_would_overflow_is_not_sound() -> None:
    pcm = np.array([[3e38], [-3e38], [4.0]], np.float32)
    assert replace_nonfinite(pcm) == 2
    assert pcm.tolist() == [[0.0], [0.0], [4.0]]


@pytest.mark.parametrize(
    ("x", "text"),
    [
        (np.zeros(4), "float64 samples: need float32 or int16"),
        (np.zeros(4, np.int32), "int32 samples: need float32 or int16"),
        (np.zeros((1, 2, 3), np.float32), "samples of shape [1, 2, 3]: need [frame] or [frame, channel]"),
        (np.float32(0), "samples of shape []: need [frame] or [frame, channel]"),
        (np.zeros((4, 0), np.float32), "samples without a channel: need [frame] or [frame, channel]"),
    ],
)
def test_other_samples_are_refused(x: Any, text: str) -> None:
    with pytest.raises(UnsupportedFormat) as caught:
        to_float32(x)
    assert str(caught.value) == text


@pytest.mark.parametrize("bad", [0, -8000, 44100.0, True, None, "48000"])
def test_rates_and_counts_are_positive_integers(bad: Any) -> None:
    with pytest.raises(UnsupportedFormat, match=f"^rate_hz={bad!r}: need an integer from 1 to 768000$"):
        check_rate(bad)
    with pytest.raises(UnsupportedFormat, match=f"^channels={bad!r}: need a positive integer$"):
        check_channels(bad)
