"""G.711 as the standard's tables have it."""

import base64

import numpy as np
import pytest

from rtc_transport.server.formats import _G711, AppendedAudio
from rtc_transport.server.problems import EventError


@pytest.mark.parametrize(
    ("kind", "code", "sample"),
    [
        ("audio/pcmu", 0x00, -32124),
        ("audio/pcmu", 0x80, 32124),
        ("audio/pcmu", 0xFF, 0),
        ("audio/pcmu", 0xF0, 120),
        ("audio/pcma", 0xD5, 8),
        ("audio/pcma", 0x55, -8),
        ("audio/pcma", 0xAA, 32256),
        ("audio/pcma", 0x2A, -32256),
    ],
)
def test_codes_have_the_values_of_the_standard(kind: str, code: int, sample: int) -> None:
    assert _G711[kind][code] * 32768 == sample


def test_g711_pieces_are_one_stream_at_24_khz() -> None:
    codes = np.random.default_rng(1).integers(0, 256, 1600, dtype=np.uint8).tobytes()

    def decode(*pieces: bytes) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
        appended = AppendedAudio()
        return np.concatenate([appended.decode(base64.b64encode(p).decode(), "audio/pcmu") for p in pieces])

    whole = decode(codes)
    assert 4700 <= len(whole) <= 4800
    np.testing.assert_allclose(decode(codes[:333], codes[333:]), whole, atol=1e-6)


def test_pcm16_is_scaled_to_one() -> None:
    audio = base64.b64encode(np.array([-32768, 0, 16384], "<i2").tobytes()).decode()
    assert AppendedAudio().decode(audio, "audio/pcm").tolist() == [-1.0, 0.0, 0.5]


def test_half_a_sample_is_refused() -> None:
    with pytest.raises(EventError, match="an even number of bytes"):
        AppendedAudio().decode(base64.b64encode(b"abc").decode(), "audio/pcm")
