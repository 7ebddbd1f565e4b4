"""The libopus shared library through ctypes: found once, on first use, with fixed signatures.

PyAV exposes neither in-band FEC nor concealment nor any setting of an open encoder, but its wheels carry
libopus itself; that copy is taken first, then one of the system.
"""

import ctypes
import ctypes.util
import functools
import importlib.util
import logging
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import AudioError

logger = logging.getLogger("rtc_audio.opus")

MAX_PACKET_BYTES = 1275 * 3 + 7  # RFC 6716 §3.4: the most that 60 ms can take
MAX_PACKET_MS = 120  # RFC 6716 §3.2.5 R5: no packet holds more

_LOWEST, _HIGHEST = np.float32(-1), np.float32(1)

# opus_defines.h
APPLICATIONS = {"voip": 2048, "audio": 2049, "lowdelay": 2051}
SET_BITRATE, SET_COMPLEXITY, SET_FEC, SET_LOSS_PERCENT, SET_DTX = 4002, 4010, 4012, 4014, 4016
GET_LOOKAHEAD, RESET_STATE = 4027, 4028

_ENCODE_ARGUMENTS = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p, ctypes.c_int32)


class OpusError(AudioError):
    """libopus refused: a damaged packet, or an operation that this installation cannot do."""


def _candidates() -> Iterator[str]:
    """Paths of a libopus, best first. Looks the av package up without importing it."""
    spec = importlib.util.find_spec("av")
    if spec is not None and spec.origin is not None:
        package = Path(spec.origin).parent
        for folder, pattern in (
            (package.parent / "av.libs", "libopus-*.so*"),  # Linux wheels
            (package / ".dylibs", "libopus*.dylib"),  # macOS wheels
            (package.parent / "av.libs", "libopus-*.dll"),  # Windows wheels
        ):
            yield from map(str, sorted(folder.glob(pattern)))
    if (system := ctypes.util.find_library("opus")) is not None:
        yield system


def _declare(lib: ctypes.PyDLL) -> None:
    """Fixes the signatures. The `ctl` functions are variadic: declaring their fixed arguments only makes
    ctypes use the other calling convention that variadic arguments have on Apple's ARM64."""
    pointer, number = ctypes.c_void_p, ctypes.c_int
    error = ctypes.POINTER(ctypes.c_int)
    signatures: dict[str, tuple[object, list[object]]] = {
        "opus_get_version_string": (ctypes.c_char_p, []),
        "opus_strerror": (ctypes.c_char_p, [number]),
        "opus_encoder_create": (pointer, [ctypes.c_int32, number, number, error]),
        "opus_encoder_destroy": (None, [pointer]),
        "opus_encode_float": (ctypes.c_int32, [*_ENCODE_ARGUMENTS]),
        "opus_encoder_ctl": (number, [pointer, number]),
        "opus_decoder_create": (pointer, [ctypes.c_int32, number, error]),
        "opus_decoder_destroy": (None, [pointer]),
        "opus_decode_float": (number, [pointer, ctypes.c_char_p, ctypes.c_int32, pointer, number, number]),
        "opus_decoder_ctl": (number, [pointer, number]),
    }
    for name, (result, arguments) in signatures.items():
        function = getattr(lib, name)
        function.restype, function.argtypes = result, arguments


@functools.cache
def load_libopus() -> ctypes.PyDLL | None:
    """The library, or None where there is none.

    `PyDLL` keeps the GIL: a call takes 20 to 200 µs, while giving the GIL away lets any busy thread keep it
    for 5 ms (`sys.getswitchinterval`), a quarter of a frame.
    """
    for path in _candidates():
        try:
            lib = ctypes.PyDLL(path)
            _declare(lib)
        except (OSError, AttributeError) as error:
            logger.debug("libopus at %s cannot be used: %s", path, error)
            continue
        logger.debug("using %s", lib.opus_get_version_string().decode())
        return lib
    logger.warning(
        "no libopus found: fixed encoder settings, no error correction, no concealment by the codec"
    )
    return None


@functools.cache
def _encode_without_gil(lib: ctypes.PyDLL) -> Any:
    """The function that encodes, as one during which other threads run."""
    return ctypes.CFUNCTYPE(ctypes.c_int32, *_ENCODE_ARGUMENTS)(("opus_encode_float", lib))


def check(lib: ctypes.PyDLL, result: int, doing: str) -> int:
    """`result` if libopus accepted, else OpusError with its own words."""
    if result < 0:
        raise OpusError(f"{doing}: {lib.opus_strerror(result).decode()}")
    return result


class NativeEncoder:
    """One `OpusEncoder` of libopus. Not thread-safe; memory is freed with the object."""

    def __init__(self, lib: ctypes.PyDLL, rate_hz: int, channels: int, application: str) -> None:
        self._lib = lib
        error = ctypes.c_int()
        handle = lib.opus_encoder_create(rate_hz, channels, APPLICATIONS[application], ctypes.byref(error))
        check(lib, error.value, "creating an Opus encoder")
        self._handle = ctypes.c_void_p(handle)
        weakref.finalize(self, lib.opus_encoder_destroy, self._handle).atexit = False
        self._pcm = np.zeros((rate_hz * MAX_PACKET_MS // 1000, channels), np.float32)
        self._packet = ctypes.create_string_buffer(MAX_PACKET_BYTES)
        self._pcm_pointer = ctypes.c_void_p(self._pcm.ctypes.data)
        self._packet_pointer = ctypes.c_void_p(ctypes.addressof(self._packet))

    def encode(self, pcm: NDArray[np.float32], *, release_gil: bool = False) -> bytes:
        """One packet for `pcm` [frame, channel]."""
        count = len(pcm)
        self._pcm[:count] = pcm  # also makes it contiguous
        encode = _encode_without_gil(self._lib) if release_gil else self._lib.opus_encode_float
        size = encode(self._handle, self._pcm_pointer, count, self._packet_pointer, MAX_PACKET_BYTES)
        return ctypes.string_at(self._packet, check(self._lib, size, "encoding"))

    def set(self, request: int, value: int) -> None:
        """One of the `SET_` requests."""
        result = self._lib.opus_encoder_ctl(self._handle, request, ctypes.c_int32(value))
        check(self._lib, result, f"encoder request {request} with {value}")

    def get(self, request: int) -> int:
        """One of the `GET_` requests."""
        value = ctypes.c_int32()
        check(
            self._lib,
            self._lib.opus_encoder_ctl(self._handle, request, ctypes.byref(value)),
            "asking the encoder",
        )
        return value.value

    def reset(self) -> None:
        """Back to the state after creation; settings stay."""
        check(self._lib, self._lib.opus_encoder_ctl(self._handle, RESET_STATE), "resetting the encoder")


class NativeDecoder:
    """One `OpusDecoder` of libopus. Not thread-safe; memory is freed with the object."""

    def __init__(self, lib: ctypes.PyDLL, rate_hz: int, channels: int) -> None:
        self._lib = lib
        error = ctypes.c_int()
        handle = lib.opus_decoder_create(rate_hz, channels, ctypes.byref(error))
        check(lib, error.value, "creating an Opus decoder")
        self._handle = ctypes.c_void_p(handle)
        weakref.finalize(self, lib.opus_decoder_destroy, self._handle).atexit = False
        self._pcm = np.zeros((rate_hz * MAX_PACKET_MS // 1000, channels), np.float32)
        self._pointer = ctypes.c_void_p(self._pcm.ctypes.data)

    def decode(self, payload: bytes | None, samples: int, *, fec: bool = False) -> NDArray[np.float32]:
        """At most `samples` [frame, channel]; without a payload, or with `fec`, exactly `samples`."""
        size = 0 if payload is None else len(payload)
        samples = min(samples or len(self._pcm), len(self._pcm))
        got = self._lib.opus_decode_float(self._handle, payload, size, self._pointer, samples, fec)
        if got < 0:
            check(self._lib, got, "decoding")
        # Damaged packets decode to any loudness. Two ufuncs take a third of the time of np.clip.
        pcm = np.maximum(self._pcm[:got], _LOWEST)
        return np.minimum(pcm, _HIGHEST, out=pcm)

    def reset(self) -> None:
        """Back to the state after creation."""
        check(self._lib, self._lib.opus_decoder_ctl(self._handle, RESET_STATE), "resetting the decoder")
