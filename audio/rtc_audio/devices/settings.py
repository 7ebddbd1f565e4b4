"""What a user may choose about a device."""

from collections.abc import Callable
from dataclasses import dataclass

from .hub import OPEN_SECONDS
from .types import DeviceEvent, Direction, Latency

OnEvent = Callable[[DeviceEvent], None]


@dataclass
class LineSettings:
    """The options of a `Microphone` or `Speaker`, as far as opening and keeping its device goes."""

    direction: Direction
    device: str | int | None = None
    rate_hz: int | None = None
    channels: int | None = None
    latency: Latency = "low"
    reopen: bool = True
    open_timeout_seconds: float = OPEN_SECONDS
    on_event: OnEvent | None = None

    @property
    def label(self) -> str:
        """What errors call the device while none is chosen."""
        if self.device is not None:
            return f"{self.direction} device {self.device!r}"
        return f"the default {self.direction} device"


def check_device(device: str | int | None) -> str | int | None:
    """The device itself; raises ValueError for what can be neither a name nor an index."""
    if isinstance(device, bool) or not isinstance(device, str | int | None):
        raise ValueError(f"device={device!r}: need a name, an index or None")
    if device == "" or (isinstance(device, int) and device < 0):
        raise ValueError(f"device={device!r}: need a name, an index from 0 or None for the default")
    return device


def check_latency(latency: Latency) -> Latency:
    """The word itself; raises ValueError for an unknown one."""
    if latency not in ("low", "high"):
        raise ValueError(f"latency={latency!r}: need 'low' or 'high'")
    return latency
