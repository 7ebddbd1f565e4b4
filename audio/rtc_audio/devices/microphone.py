"""The microphone as a source of a call."""

import asyncio
import time
from collections.abc import Callable

import numpy as np

from ..format import check_rate
from ..ports import Pcm
from .capture import Capture, CaptureReader
from .hub import OPEN_SECONDS, DeviceHub, default_hub
from .line import DeviceLine
from .settings import LineSettings, OnEvent, check_device, check_latency
from .types import DeviceInfo, Latency, StreamFormat

_NOTHING: Pcm = np.empty((0, 1), np.float32)


class Microphone:
    """A live source (`AudioSource`, `ClearableSource`): mono, at the device's own rate.

    * `device`: its name, a part of it, or its index (`list_devices()`); None: the system's default.
    * `rate_hz`: asks the device for this rate; None: its own. Whoever reads resamples.
    * `channel`: takes this channel of the device, from 0; None: the mean of all that are open.
    * `latency`: "low" turns to "high" where the driver does not bear it.
    * `reopen`: a lost device is replaced, by the same or the default one, as soon as there is one; silence meanwhile.
      When one that gave way to another is back, it is used again; so is a lost default once it is the default again.
    * `on_event` is told of what happens to the device (`DeviceEvent`), on the event loop.

    Nothing is opened before `start`. Reading never waits. At most `backlog_seconds` are kept for a reader that is late.
    """

    channels = 1
    live = True
    ended = False

    def __init__(
        self,
        device: str | int | None = None,
        *,
        rate_hz: int | None = None,
        channel: int | None = None,
        latency: Latency = "low",
        reopen: bool = True,
        on_event: OnEvent | None = None,
        backlog_seconds: float = 0.4,
        open_timeout_seconds: float = OPEN_SECONDS,
        hub: DeviceHub | None = None,
    ) -> None:
        if channel is not None and channel < 0:
            raise ValueError(f"channel={channel}: need 0 or more")
        if not 0.05 <= backlog_seconds <= 5:
            raise ValueError(f"backlog_seconds={backlog_seconds:g}: need 0.05 to 5")
        self._settings = LineSettings(
            direction="input",
            device=check_device(device),
            rate_hz=None if rate_hz is None else check_rate(rate_hz),
            channels=None if channel is None else channel + 1,
            latency=check_latency(latency),
            reopen=reopen,
            open_timeout_seconds=open_timeout_seconds,
            on_event=on_event,
        )
        self._channel = channel
        self._backlog_seconds = backlog_seconds
        self._hub = hub
        self._line: DeviceLine[Capture] | None = None
        self._reader: CaptureReader | None = None
        self._rate_hz = rate_hz or 48000
        self._dropped_before = 0.0
        self._clock: Callable[[], float] = time.monotonic

    @property
    def rate_hz(self) -> int:
        """That of the device; may change when another one takes over."""
        return self._rate_hz

    @property
    def device(self) -> DeviceInfo | None:
        """The device that is open; None before `start` and while it is lost."""
        return None if self._line is None else self._line.device

    @property
    def on_event(self) -> OnEvent | None:
        """Who is told of what happens to the device."""
        return self._settings.on_event

    @on_event.setter
    def on_event(self, on_event: OnEvent | None) -> None:
        self._settings.on_event = on_event

    @property
    def latency_seconds(self) -> float:
        """The driver's word for the time from the membrane to this program."""
        return 0.0 if self._line is None else self._line.latency_seconds

    @property
    def dropped_seconds(self) -> float:
        """What was recorded and not read in time, since `start`."""
        fresh = 0.0 if self._reader is None else self._reader.dropped_frames / self._rate_hz
        return self._dropped_before + fresh

    @property
    def overflow_seconds(self) -> float:
        """What the driver says it lost, since `start`."""
        return 0.0 if self._line is None else self._line.lost_seconds

    @property
    def next_seconds(self) -> float | None:
        """When the frame that the next `read` begins with was recorded, on the clock of `time.monotonic`.

        None while no device is open, and until its first block.
        """
        return None if self._reader is None or not self._reader.begun else self._reader.next_seconds

    async def start(self) -> None:
        """Open the device; a second call does nothing.

        Raises PortAudioMissing, NoDevice, DeviceNotFound, AmbiguousDevice, DeviceRefused, DeviceBusy,
        DeviceOpenTimeout. Cancelled, nothing stays open.
        """
        self._clock = asyncio.get_running_loop().time
        if self._line is None:
            self._line = DeviceLine(
                self._hub or default_hub(), self._settings, self._make_capture, self._on_change
            )
        if self._line.port is None:
            self._dropped_before = 0.0
        await self._line.open()

    def read(self, n: int, /) -> Pcm:
        """`n` frames `[n, 1]`, or none: silence follows until there are enough."""
        return _NOTHING if self._reader is None else self._reader.read(n)[:, None]

    def clear(self) -> None:
        """Drop what waits to be read."""
        if self._reader is not None:
            self._reader.clear()

    async def aclose(self) -> None:
        """Release the device, within two seconds whatever its driver does; harmless when repeated or cancelled."""
        if self._line is not None:
            await self._line.aclose()

    def _make_capture(self, format: StreamFormat, on_finished: Callable[[], None]) -> Capture:
        channel = None if self._channel is None else min(self._channel, format.channels - 1)
        return Capture(
            format,
            on_finished,
            clock=self._clock,
            channel=channel,
            backlog_seconds=self._backlog_seconds,
        )

    def _on_change(self) -> None:
        self._dropped_before, self._reader = self.dropped_seconds, None
        if self._line is not None and (port := self._line.port) is not None:
            self._rate_hz = port.format.rate_hz
            self._reader = CaptureReader(port)
