"""libwebrtc's echo canceller (AEC3), from the package `livekit`: the extra `aec`. Imported on use; no network."""

from typing import TYPE_CHECKING

import numpy as np

from .echo import (
    SILENCE_POWER,
    EchoUnavailable,
    Mono,
    check_blocks,
    frames_in,
    mean_square,
)
from .echo_gate import ReturnLoss
from .errors import UnsupportedFormat
from .format import to_int16

if TYPE_CHECKING:
    from livekit.rtc.apm import AudioProcessingModule

RATES_HZ = (16000, 24000, 48000)


class WebRtcEchoCanceller:
    """AEC3: cancels at once and whatever the loudspeaker does to the sound, and takes who talks meanwhile down with it.

    Raises UnsupportedFormat for other rates than 16000, 24000 and 48000; EchoUnavailable if `livekit` is missing,
    with the command that installs it, or refuses.
    """

    latency_seconds = 0.009

    def __init__(self, rate_hz: int = 48000) -> None:
        if rate_hz not in RATES_HZ:
            raise UnsupportedFormat(
                f"rate_hz={rate_hz}: the WebRTC echo canceller runs at 16000, 24000 or 48000"
            )
        self.rate_hz = rate_hz
        self.block_frames = frames_in(rate_hz, 10)
        self._loss = ReturnLoss(blocks=100)
        self._module = self._load()

    def _load(self) -> "AudioProcessingModule":
        try:
            from livekit.rtc.apm import AudioProcessingModule
        except (ImportError, OSError) as error:
            raise EchoUnavailable(
                "the WebRTC echo canceller is not installed: pip install 'rtc-transport[aec]'"
            ) from error
        return AudioProcessingModule(echo_cancellation=True)

    @property
    def erle_db(self) -> float | None:
        """As the protocol says."""
        return self._loss.db

    def process(self, far: Mono, near: Mono, /) -> Mono:
        """`near`, `latency_seconds` late, without the echo of `far`; float32 `[block_frames]`, 10 ms each.

        Raises UnsupportedFormat for other shapes and dtypes, EchoUnavailable if the library refuses.
        """
        far, near = check_blocks(far, near, self.block_frames)
        result = self._through(far, near)
        if mean_square(far) > SILENCE_POWER:
            self._loss.update(mean_square(near), mean_square(result))
        return result

    def _through(self, far: Mono, near: Mono) -> Mono:
        from livekit.rtc import AudioFrame

        played, heard = (
            AudioFrame(bytearray(to_int16(pcm).tobytes()), self.rate_hz, 1, self.block_frames)
            for pcm in (far, near)
        )
        try:
            self._module.process_reverse_stream(played)
            self._module.set_stream_delay_ms(0)  # it finds the delay itself
            self._module.process_stream(heard)
        except RuntimeError as error:
            raise EchoUnavailable(f"the WebRTC echo canceller refused: {error}") from error
        return np.frombuffer(heard.data, np.int16).astype(np.float32) / np.float32(32768)

    def reset(self) -> None:
        """Begins with a new module."""
        self._module = self._load()
        self._loss.reset()
