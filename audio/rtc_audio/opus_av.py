"""Opus by PyAV, for installations in which ctypes finds no libopus: decodes and encodes, conceals nothing."""

import math
from fractions import Fraction
from typing import TYPE_CHECKING

import av
import av.error
import numpy as np
from numpy.typing import NDArray

from .libopus import OpusError

if TYPE_CHECKING:
    from .opus import EncoderSettings

DECODER_RATE_HZ = 48000  # FFmpeg decodes Opus to nothing else


class AvEncoding:
    """FFmpeg's encoder. It reads its settings when it opens, so a change reopens it (a step in the sound)."""

    def __init__(self, rate_hz: int, channels: int, frame_ms: float, application: str) -> None:
        self._rate_hz, self._layout = rate_hz, "mono" if channels == 1 else "stereo"
        self._fixed = {"application": application, "frame_duration": f"{frame_ms:g}"}
        self._options: dict[str, str] = {}
        self._bitrate_bps = 0
        self._context: av.AudioCodecContext | None = None
        self._samples = 0
        self.lookahead_samples = rate_hz * 13 // 2000  # 6.5 ms (RFC 6716 §2), 4 more in mode lowdelay

    def apply(self, settings: "EncoderSettings") -> None:
        self._bitrate_bps = settings.bitrate_bps
        self._options = self._fixed | {
            "compression_level": str(settings.complexity),
            "fec": str(int(settings.fec)),
            "packet_loss": str(settings.expected_loss_percent),
            "dtx": str(int(settings.dtx)),
        }
        self._context = None

    def encode(self, pcm: NDArray[np.float32], *, release_gil: bool = False) -> bytes:
        if self._context is None:
            self._context = self._open()
        frame = av.AudioFrame.from_ndarray(pcm.reshape(1, -1), format="flt", layout=self._layout)
        frame.sample_rate, frame.pts, frame.time_base = (
            self._rate_hz,
            self._samples,
            Fraction(1, self._rate_hz),
        )
        self._samples += len(pcm)
        try:
            return b"".join(map(bytes, self._context.encode(frame)))
        except av.error.FFmpegError as error:
            raise OpusError(f"encoding: {error}") from error

    def reset(self) -> None:
        self._context = None

    def _open(self) -> av.AudioCodecContext:
        context = av.AudioCodecContext.create("libopus", "w")
        context.bit_rate, context.sample_rate = self._bitrate_bps, self._rate_hz
        context.format, context.layout = "flt", self._layout
        context.time_base, context.options = Fraction(1, self._rate_hz), self._options
        return context


class AvDecoding:
    """FFmpeg's decoder and a decimation to the wanted rate, each frame as long as its packet says."""

    def __init__(self, rate_hz: int, channels: int) -> None:
        self._step, self._channels = DECODER_RATE_HZ // rate_hz, channels
        self._filter = _lowpass(self._step)
        self.reset()

    def decode(self, payload: bytes | None, samples: int, *, fec: bool = False) -> NDArray[np.float32]:
        """[frame, channel]. `samples` and `fec` are libopus' business."""
        try:
            frames = self._context.decode(av.Packet(payload))
        except av.error.FFmpegError as error:
            raise OpusError(f"decoding: {error}") from error
        if not frames:
            raise OpusError("decoding: the packet holds no sound")
        pcm = np.concatenate([self._channels_of(frame) for frame in frames])
        return self._decimate(pcm)

    def reset(self) -> None:
        self._context = av.AudioCodecContext.create("libopus", "r")
        self._past = np.zeros((len(self._filter) - 1, self._channels), np.float32)

    def _channels_of(self, frame: av.AudioFrame) -> NDArray[np.float32]:
        pcm = frame.to_ndarray().reshape(-1, frame.layout.nb_channels)
        if pcm.dtype == np.int16:
            pcm = pcm.astype(np.float32) / np.float32(32768)
        mixed = pcm.mean(axis=1, keepdims=True) if self._channels == 1 else pcm
        return np.ascontiguousarray(np.broadcast_to(mixed, (len(pcm), self._channels)), np.float32)

    def _decimate(self, pcm: NDArray[np.float32]) -> NDArray[np.float32]:
        if self._step == 1:
            return pcm
        joined = np.concatenate((self._past, pcm))
        self._past = joined[len(pcm) :]
        columns = [np.convolve(column, self._filter, "valid")[:: self._step] for column in joined.T]
        return np.stack(columns, axis=1)


def _lowpass(step: int) -> NDArray[np.float32]:
    """Windowed sinc for a decimation by `step`: 16 outputs wide on either side, 0.7 ms of delay at 24 kHz."""
    if step == 1:
        return np.ones(1, np.float32)
    half = 16 * step
    at = np.arange(-half, half + 1)
    taps = np.sinc(at * 0.92 / step) * np.kaiser(2 * half + 1, 8)
    return (taps / math.fsum(taps)).astype(np.float32)
