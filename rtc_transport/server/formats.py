"""The formats of appended audio: 16-bit PCM at 24 kHz, and G.711 at 8 kHz. Pure."""

import base64
import binascii

import numpy as np
from numpy.typing import NDArray

from rtc_audio.resampler import StreamResampler

from .problems import EventError
from .vad import RATE_HZ

Mono = NDArray[np.float32]

G711_RATE_HZ = 8000


def decode_base64(encoded: str, param: str) -> bytes:
    """The bytes; raises EventError for what is no base64."""
    try:
        return base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError) as error:
        raise EventError(
            "invalid_value", f"Invalid '{param}': expected base64-encoded audio.", param
        ) from error


def decode_pcm16(encoded: str, param: str) -> Mono:
    """Base64 of 16-bit little-endian mono PCM as float32; raises EventError."""
    raw = decode_base64(encoded, param)
    if len(raw) % 2:
        raise EventError(
            "invalid_value", f"Invalid '{param}': 16-bit audio has an even number of bytes.", param
        )
    return np.frombuffer(raw, "<i2").astype(np.float32) / np.float32(32768)


class AppendedAudio:
    """Decodes ``input_audio_buffer.append`` in the session's input format to mono 24 kHz, as one stream."""

    def __init__(self) -> None:
        self._kind = "audio/pcm"
        self._resampler: StreamResampler | None = None

    def decode(self, encoded: str, kind: str) -> Mono:
        """The next piece, base64 of format `kind`; raises EventError."""
        if kind == "audio/pcm":
            return decode_pcm16(encoded, "audio")
        if self._resampler is None or kind != self._kind:
            self._kind, self._resampler = kind, StreamResampler(G711_RATE_HZ, RATE_HZ)
        codes = np.frombuffer(decode_base64(encoded, "audio"), np.uint8)
        pcm: Mono = self._resampler.push(_G711[kind][codes])
        return pcm


def _expand_mu_law() -> Mono:
    """The table of ITU-T G.711 §3.2."""
    code = ~np.arange(256, dtype=np.uint8)
    magnitude = (((code & 0x0F).astype(np.int32) << 3) + 0x84 << (code >> 4 & 7)) - 0x84
    return (np.where(code & 0x80, -magnitude, magnitude) / 32768).astype(np.float32)


def _expand_a_law() -> Mono:
    """The table of ITU-T G.711 §3.1."""
    code = np.arange(256, dtype=np.uint8) ^ 0x55
    exponent = (code >> 4 & 7).astype(np.int32)
    mantissa = (code & 0x0F).astype(np.int32) << 4
    magnitude = np.where(exponent == 0, mantissa + 8, mantissa + 0x108 << np.maximum(exponent - 1, 0))
    return (np.where(code & 0x80, magnitude, -magnitude) / 32768).astype(np.float32)


_G711 = {"audio/pcmu": _expand_mu_law(), "audio/pcma": _expand_a_law()}
