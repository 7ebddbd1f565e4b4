"""Echo cancellation: the protocol, the two that compute nothing, and the choice between them all.

A canceller is pure: no device, no clock, no thread. Its owner feeds it, block by block, what the loudspeaker played
(`FarReference` lines that up in time) and what the microphone heard meanwhile.
"""

import math
from typing import Literal, Protocol, TypeAlias, get_args, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from .errors import AudioError, UnsupportedFormat
from .format import check_rate, replace_nonfinite
from .levels import Ramp

Mono: TypeAlias = NDArray[np.float32]
"""One channel of sound, float32 `[frame]`, full scale ±1.0."""

EchoKind: TypeAlias = Literal["cancel", "gate", "off", "webrtc"]

SILENCE_POWER = 1e-6  # −60 dBFS, the mean square above which the far end is said to talk


class EchoUnavailable(AudioError):
    """An echo canceller is not installed, or what is installed refuses; the text says what to do."""


@runtime_checkable
class EchoCanceller(Protocol):
    """Takes the loudspeaker's sound out of the microphone's, a block at a time."""

    @property
    def rate_hz(self) -> int:
        """Sampling rate of both sides."""
        ...

    @property
    def block_frames(self) -> int:
        """How many frames `process` takes."""
        ...

    @property
    def latency_seconds(self) -> float:
        """How much later than `near` the result is."""
        ...

    @property
    def erle_db(self) -> float | None:
        """Echo return loss enhancement: what goes in over what comes out while the far end talks; None: not known.

        The mean of the last second or so of far-end sound; somebody who talks at the same time lowers the figure.
        """
        ...

    def process(self, far: Mono, near: Mono, /) -> Mono:
        """`near` without the echo of `far`: three float32 `[block_frames]`.

        `far` is what the loudspeaker played, on the microphone's clock, and not later than its echo. Samples that
        are not finite count as silence. The arguments are left as they are. Raises UnsupportedFormat for other shapes
        and dtypes.
        """
        ...

    def reset(self) -> None:
        """Forgets the room and the sound so far: the devices have changed."""
        ...


class NullEchoCanceller:
    """Changes nothing: for headsets, and where the system cancels the echo itself."""

    latency_seconds = 0.0
    erle_db = None

    def __init__(self, rate_hz: int, block_frames: int | None = None) -> None:
        self.rate_hz = check_rate(rate_hz)
        self.block_frames = block_frames or frames_in(rate_hz, 10)

    def process(self, far: Mono, near: Mono, /) -> Mono:
        """`near` as it is."""
        check_blocks(far, near, self.block_frames)
        return near

    def reset(self) -> None:
        """Nothing to forget."""


class HalfDuplexGate:
    """Silences the microphone while the loudspeaker sounds and `tail_seconds` longer, with ramps of 10 ms.

    Costs next to nothing and never lets an echo through that ends within the tail, but nobody can interrupt the voice
    by talking. `threshold_dbfs` is the level (RMS of 10 ms) above which the loudspeaker counts as sounding.
    """

    latency_seconds = 0.0
    erle_db = None

    def __init__(self, rate_hz: int, *, tail_seconds: float = 0.2, threshold_dbfs: float = -60.0) -> None:
        self.rate_hz = check_rate(rate_hz)
        self.block_frames = frames_in(rate_hz, 10)
        self._threshold = 10 ** (threshold_dbfs / 10)
        self._tail = round(tail_seconds * 100)
        self._ramp = Ramp(rate_hz, ramp_seconds=0.01)
        self._closed_for = 0  # blocks

    def process(self, far: Mono, near: Mono, /) -> Mono:
        """`near`, or silence while `far` sounds."""
        far, near = check_blocks(far, near, self.block_frames)
        sounding = mean_square(far) > self._threshold
        self._closed_for = self._tail + 1 if sounding else max(0, self._closed_for - 1)
        self._ramp.target = 0.0 if self._closed_for else 1.0
        return self._ramp.apply(near[:, None])[:, 0]

    def reset(self) -> None:
        """Opens the gate, along its ramp."""
        self._closed_for = 0


def make_echo_canceller(
    kind: EchoKind, rate_hz: int, *, block_frames: int | None = None, inner_rate_hz: int = 16000
) -> EchoCanceller:
    """The canceller for devices that run at `rate_hz`, in blocks of `block_frames` (None: 20 ms).

    "cancel": a Kalman filter in numpy, inside at `inner_rate_hz` (16000 or 24000), which is the rate of what it lets
    through; "webrtc": libwebrtc's canceller, from the extra `aec`; "gate": the microphone is silent while the
    loudspeaker sounds; "off": nothing.

    Raises UnsupportedFormat for an unknown kind and for rates that cannot be converted or have no whole number of
    frames in 20 ms (unless `block_frames` is given); EchoUnavailable, with the command that installs it, if "webrtc" is
    not installed.
    """
    from .echo_adapter import AdaptedEchoCanceller
    from .echo_kalman import KalmanEchoCanceller
    from .echo_webrtc import RATES_HZ, WebRtcEchoCanceller

    block_frames = block_frames or frames_in(check_rate(rate_hz), 20)
    if kind == "off":
        return NullEchoCanceller(rate_hz, block_frames)
    if kind == "gate":
        inner: EchoCanceller = HalfDuplexGate(inner_rate_hz if rate_hz % 100 else rate_hz)
    elif kind == "cancel":
        inner = KalmanEchoCanceller(inner_rate_hz)
    elif kind == "webrtc":
        inner = WebRtcEchoCanceller(rate_hz if rate_hz in RATES_HZ else 48000)
    else:
        raise UnsupportedFormat(f"echo={kind!r}: need one of {', '.join(get_args(EchoKind))}")
    if (inner.rate_hz, inner.block_frames) == (rate_hz, block_frames):
        return inner
    return AdaptedEchoCanceller(inner, rate_hz, block_frames=block_frames)


def frames_in(rate_hz: int, milliseconds: int) -> int:
    """Frames of so many milliseconds. Raises UnsupportedFormat if that is no whole number."""
    frames, left = divmod(rate_hz * milliseconds, 1000)
    if left:
        raise UnsupportedFormat(f"{rate_hz} Hz: {milliseconds} ms of it are not a whole number of frames")
    return frames


def check_blocks(far: Mono, near: Mono, frames: int) -> tuple[Mono, Mono]:
    """Both blocks, copied where samples that are not finite had to be replaced.

    Raises UnsupportedFormat for anything but float32 `[frames]`.
    """
    return _checked("far", far, frames), _checked("near", near, frames)


def _checked(name: str, pcm: Mono, frames: int) -> Mono:
    if pcm.dtype != np.float32 or pcm.shape != (frames,):
        raise UnsupportedFormat(
            f"{name} is {pcm.dtype} of shape {list(pcm.shape)}: need float32 of shape [{frames}]"
        )
    if math.isfinite(np.dot(pcm, pcm)):
        return pcm
    pcm = pcm.copy()
    replace_nonfinite(pcm)
    return pcm


def mean_square(pcm: Mono) -> float:
    """The power of a block, full scale 1."""
    return float(np.dot(pcm, pcm)) / len(pcm)
