"""Microphones and loudspeakers, through PortAudio, which is loaded when one is opened or listed."""

from .hub import OPEN_SECONDS, DeviceHub, default_hub
from .microphone import Microphone
from .speaker import Speaker
from .types import DeviceEvent, DeviceEventKind, DeviceInfo

__all__ = [
    "DeviceEvent",
    "DeviceEventKind",
    "DeviceHub",
    "DeviceInfo",
    "Microphone",
    "Speaker",
    "default_hub",
    "list_devices",
]


def list_devices(*, timeout_seconds: float = OPEN_SECONDS) -> list[DeviceInfo]:
    """The microphones and loudspeakers of this machine; none is an empty list.

    While one of them is open in this process, those that there were when it was opened. Blocks, for up to a second when
    PortAudio starts: in a coroutine, use `await asyncio.to_thread(list_devices)`.
    Raises PortAudioMissing, and DeviceOpenTimeout if a driver hangs.
    """
    return default_hub().devices(timeout_seconds=timeout_seconds)
