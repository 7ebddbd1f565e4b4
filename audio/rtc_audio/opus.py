"""Opus (RFC 6716): encoder and decoder over libopus, or over PyAV's codec where there is no libopus."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from . import libopus
from .libopus import OpusError, load_libopus
from .opus_packet import has_inband_fec, packet_seconds

if TYPE_CHECKING:
    from .opus_av import AvDecoding

__all__ = ["Application", "OpusDecoder", "OpusEncoder", "OpusError", "libopus_version", "packet_seconds"]

Application = Literal["voip", "audio", "lowdelay"]

RATES_HZ = (8000, 12000, 16000, 24000, 48000)
FRAME_MS = (2.5, 5, 10, 20, 40, 60)
MIN_BITRATE_BPS, MAX_BITRATE_BPS = 500, 512_000  # what libopus accepts, for each channel


def libopus_version() -> str | None:
    """The version that libopus reports, such as "libopus 1.6.1"; None if there is no libopus."""
    lib = load_libopus()
    return None if lib is None else str(lib.opus_get_version_string().decode())


# ---- encoding


@dataclass(frozen=True)
class EncoderSettings:
    """What may change while encoding. Raises ValueError for values that Opus does not have."""

    bitrate_bps: int
    complexity: int
    fec: bool
    expected_loss_percent: int
    dtx: bool
    channels: int

    def __post_init__(self) -> None:
        most = MAX_BITRATE_BPS * self.channels
        if not MIN_BITRATE_BPS <= self.bitrate_bps <= most:
            raise ValueError(f"bitrate_bps must be {MIN_BITRATE_BPS} to {most}, not {self.bitrate_bps}")
        if not 0 <= self.complexity <= 10:
            raise ValueError(f"complexity must be 0 to 10, not {self.complexity}")
        if not 0 <= self.expected_loss_percent <= 100:
            raise ValueError(f"expected_loss_percent must be 0 to 100, not {self.expected_loss_percent}")


class _Encoding(Protocol):
    @property
    def lookahead_samples(self) -> int: ...

    def apply(self, settings: EncoderSettings) -> None: ...
    def encode(self, pcm: NDArray[np.float32], *, release_gil: bool = False) -> bytes: ...
    def reset(self) -> None: ...


class _NativeEncoding(libopus.NativeEncoder):
    """libopus takes every setting at once, between two frames and without a break in the sound."""

    @property
    def lookahead_samples(self) -> int:
        return self.get(libopus.GET_LOOKAHEAD)

    def apply(self, settings: EncoderSettings) -> None:
        self.set(libopus.SET_BITRATE, settings.bitrate_bps)
        self.set(libopus.SET_COMPLEXITY, settings.complexity)
        self.set(libopus.SET_FEC, settings.fec)
        self.set(libopus.SET_LOSS_PERCENT, settings.expected_loss_percent)
        self.set(libopus.SET_DTX, settings.dtx)


class OpusEncoder:
    """Encodes PCM frame by frame; every property may be set at any time and holds from the next frame on.

    `rate_hz`: 8000, 12000, 16000, 24000 or 48000; `frame_ms`: 2.5, 5, 10, 20, 40 or 60. `fec` repeats
    every frame in the next packet, coarsely, as far as `expected_loss_percent` makes it worth its bits.
    The defaults are measured (`scripts/bench voice`): 64 kb/s at complexity 5 sound better, clean and under
    loss, than 32 kb/s at complexity 9, for less CPU time; more complexity costs more than it is worth.
    With `dtx` a packet of one or two bytes need not be sent. Without libopus, PyAV's encoder does the work
    and is reopened when a setting changes. Not thread-safe: one thread at a time.

    Raises ValueError for settings that Opus does not have, OpusError if libopus refuses.
    """

    def __init__(
        self,
        rate_hz: int = 48000,
        channels: int = 1,
        *,
        frame_ms: float = 20,
        bitrate_bps: int = 64_000,
        complexity: int = 5,
        fec: bool = True,
        expected_loss_percent: int = 10,
        dtx: bool = False,
        application: Application = "voip",
    ) -> None:
        _check_format(rate_hz, channels)
        if frame_ms not in FRAME_MS:
            raise ValueError(f"frame_ms must be one of {FRAME_MS}, not {frame_ms}")
        if application not in libopus.APPLICATIONS:
            raise ValueError(f"application must be one of {tuple(libopus.APPLICATIONS)}, not {application!r}")
        self.rate_hz, self.channels, self.frame_ms = rate_hz, channels, frame_ms
        self.frame_samples = round(rate_hz * frame_ms / 1000)
        self._settings = EncoderSettings(bitrate_bps, complexity, fec, expected_loss_percent, dtx, channels)
        self._encoding = self._open(application)
        self._encoding.apply(self._settings)

    def _open(self, application: Application) -> _Encoding:
        if (lib := load_libopus()) is not None:
            return _NativeEncoding(lib, self.rate_hz, self.channels, application)
        from .opus_av import AvEncoding  # imports av

        return AvEncoding(self.rate_hz, self.channels, self.frame_ms, application)

    def encode(self, pcm: NDArray[np.float32], *, release_gil: bool = False) -> bytes:
        """One packet for one frame: float32 [frame, channel], or [frame] if there is one channel.

        `release_gil` is for threads that encode beside an event loop: the loop runs meanwhile.
        Raises ValueError for another shape or dtype.
        """
        if pcm.dtype != np.float32:
            raise ValueError(f"pcm must be float32, not {pcm.dtype}")
        if pcm.ndim == 1:
            pcm = pcm[:, None]
        if pcm.shape != (self.frame_samples, self.channels):
            expected = f"{self.frame_samples} samples of {self.channels} channel(s)"
            raise ValueError(f"a frame of {self.frame_ms:g} ms has {expected}, not the shape {pcm.shape}")
        return self._encoding.encode(pcm, release_gil=release_gil)

    def reset(self) -> None:
        """Forgets the sound so far; settings stay."""
        self._encoding.reset()

    @property
    def lookahead_samples(self) -> int:
        """How much later than the input the decoded sound is, at `rate_hz`."""
        return self._encoding.lookahead_samples

    @property
    def bitrate_bps(self) -> int:
        """Mean bits a second, all channels together."""
        return self._settings.bitrate_bps

    @bitrate_bps.setter
    def bitrate_bps(self, value: int) -> None:
        self._apply(replace(self._settings, bitrate_bps=value))

    @property
    def complexity(self) -> int:
        """0 (cheap) to 10 (best)."""
        return self._settings.complexity

    @complexity.setter
    def complexity(self, value: int) -> None:
        self._apply(replace(self._settings, complexity=value))

    @property
    def fec(self) -> bool:
        """Whether packets repeat the frame in front of them."""
        return self._settings.fec

    @fec.setter
    def fec(self, value: bool) -> None:
        self._apply(replace(self._settings, fec=value))

    @property
    def expected_loss_percent(self) -> int:
        """The loss that the encoder prepares for."""
        return self._settings.expected_loss_percent

    @expected_loss_percent.setter
    def expected_loss_percent(self, value: int) -> None:
        self._apply(replace(self._settings, expected_loss_percent=value))

    @property
    def dtx(self) -> bool:
        """Whether silence is left out (discontinuous transmission)."""
        return self._settings.dtx

    @dtx.setter
    def dtx(self, value: bool) -> None:
        self._apply(replace(self._settings, dtx=value))

    def _apply(self, settings: EncoderSettings) -> None:
        if settings != self._settings:
            self._encoding.apply(settings)
            self._settings = settings


# ---- decoding


class OpusDecoder:
    """Decodes any sender's packets to float32 PCM: [frame] for one channel, else [frame, channel].

    `rate_hz`: 8000, 12000, 16000, 24000 or 48000. `can_conceal` is False without libopus: then `has_fec`
    finds nothing and `decode_fec` and `conceal` raise. Not thread-safe.
    """

    def __init__(self, rate_hz: int = 48000, channels: int = 1) -> None:
        _check_format(rate_hz, channels)
        self.rate_hz, self.channels = rate_hz, channels
        lib = load_libopus()
        self.can_conceal = lib is not None
        self._decoding: libopus.NativeDecoder | AvDecoding
        self._decoding = self._fallback() if lib is None else libopus.NativeDecoder(lib, rate_hz, channels)
        self._step = rate_hz // 400  # 2.5 ms, what libopus conceals multiples of

    def _fallback(self) -> "AvDecoding":
        from .opus_av import AvDecoding  # imports av

        return AvDecoding(self.rate_hz, self.channels)

    def decode(self, payload: bytes) -> NDArray[np.float32]:
        """The sound of a packet. Raises OpusError for a payload that is none."""
        if not payload:  # libopus would take it for a loss
            raise OpusError("an empty payload is no Opus packet")
        return self._shape(self._decoding.decode(payload, 0))

    def decode_fec(self, payload: bytes, samples: int) -> NDArray[np.float32]:
        """The last `samples` (a multiple of 2.5 ms) in front of `payload`, from the copy it carries.

        What the copy does not cover is concealed. Raises OpusError.
        """
        self._check_filling(samples)
        return self._shape(self._decoding.decode(payload, samples, fec=True))

    def conceal(self, samples: int) -> NDArray[np.float32]:
        """`samples` (a multiple of 2.5 ms, at most 120 ms) for a lost packet. Raises OpusError."""
        self._check_filling(samples)
        return self._shape(self._decoding.decode(None, samples))

    def has_fec(self, payload: bytes) -> bool:
        """Whether `decode_fec` would find a copy. Never raises."""
        return self.can_conceal and has_inband_fec(payload)

    def frame_samples(self, payload: bytes) -> int:
        """Samples that `decode` would return, without decoding (RFC 6716 §3.1). Raises OpusError."""
        return round(packet_seconds(payload) * self.rate_hz)

    def reset(self) -> None:
        """Forgets the sound so far."""
        self._decoding.reset()

    def _shape(self, pcm: NDArray[np.float32]) -> NDArray[np.float32]:
        return pcm[:, 0] if self.channels == 1 else pcm

    def _check_filling(self, samples: int) -> None:
        if not self.can_conceal:
            raise OpusError("error correction and concealment are not available: no libopus was found")
        if samples <= 0 or samples % self._step or samples > 48 * self._step:
            raise ValueError(
                f"samples must be a multiple of {self._step} up to {48 * self._step}, not {samples}"
            )


def _check_format(rate_hz: int, channels: int) -> None:
    if rate_hz not in RATES_HZ:
        raise ValueError(f"rate_hz must be one of {RATES_HZ}, not {rate_hz}")
    if channels not in (1, 2):
        raise ValueError(f"channels must be 1 or 2, not {channels}")
