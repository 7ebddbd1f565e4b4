"""The seam between the devices of this room and whatever drives them: PortAudio, or a fake in tests."""

from typing import Protocol

from ..errors import DeviceRefused
from .types import DeviceInfo, StreamRequest


class FormatRefused(DeviceRefused):
    """The driver does not do this rate or channel count; another may do."""


class StreamPort(Protocol):
    """What a stream calls, on a thread of the driver: must be quick and never raise."""

    def on_block(self, block: memoryview, now: float, at_seconds: float, flagged: bool, /) -> None:
        """The memory of one block `[block_frames, channels]`, float32, as bytes: recorded, or to be filled.

        It is valid during the call only, and need not be a memoryview, if it is copied and assigned to like one.
        `now` is that of `time.monotonic`; `at_seconds`, on the same clock: when its first frame was or will be at the
        device.
        `flagged`: the driver says that sound was lost just before.
        """
        ...

    def on_finished(self) -> None:
        """No block will follow, whoever stopped the stream."""
        ...


class Stream(Protocol):
    """An open, running stream."""

    @property
    def active(self) -> bool:
        """False once it has stopped by itself. Quick."""
        ...

    @property
    def latency_seconds(self) -> float:
        """Between this program and the device, as the driver reports it."""
        ...

    def close(self) -> None:
        """Stop at once and release the device; may block."""
        ...


class Backend(Protocol):
    """Devices of one kind. All calls may block and come from the device thread, one at a time."""

    def devices(self) -> list[DeviceInfo]:
        """The devices as listed last. Raises DeviceError."""
        ...

    def look(self) -> list[DeviceInfo]:
        """The devices as they are now, seen without disturbing a stream; the list of `devices` stays as it is.

        Slow. Raises DeviceError, also where there is no way to do that.
        """
        ...

    def refresh(self) -> None:
        """List the devices anew; no stream may be open. Raises DeviceError."""
        ...

    def open(self, request: StreamRequest, port: StreamPort) -> Stream:
        """Open and start a stream. Raises FormatRefused, DeviceBusy, DeviceRefused."""
        ...
