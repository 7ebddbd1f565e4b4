"""A device that was lost and replaced is waited for, without disturbing the one that stands in for it."""

import asyncio
import logging
from collections.abc import Callable
from typing import Generic

from ..errors import DeviceError, DeviceNotFound
from .health import FIRST_BLOCK_SECONDS
from .hub import DeviceHub, OpenStream, PortT, Wish
from .types import DeviceInfo, Direction

_log = logging.getLogger("rtc_audio.devices")

LOOK_SECONDS = (3.0, 3.0, 5.0, 5.0, 10.0, 15.0)
"""Before each look; the last one repeats."""
PROOF_BLOCKS = 10
PROOF_POLL_SECONDS = 0.05


def is_same(one: DeviceInfo, other: DeviceInfo) -> bool:
    """Whether it is the same device, at whatever index."""
    return (one.host_api, one.name) == (other.host_api, other.name)


def chooser(
    home: DeviceInfo, direction: Direction, *, as_default: bool
) -> Callable[[list[DeviceInfo]], DeviceInfo]:
    """Chooses `home`, with `as_default` only where it is the default; else raises DeviceNotFound."""

    def choose(devices: list[DeviceInfo]) -> DeviceInfo:
        usable = [device for device in devices if device.channels(direction)]
        for device in usable:
            if is_same(device, home) and (device.is_default(direction) or not as_default):
                return device
        raise DeviceNotFound(direction, home.name, [str(device) for device in usable])

    return choose


class Homecoming(Generic[PortT]):
    """Waits for one device at a time; `on_back` is called when a stream of it runs, beside the one in use."""

    def __init__(self, hub: DeviceHub, on_back: Callable[[], None]) -> None:
        self._hub = hub
        self._on_back = on_back
        self._home: DeviceInfo | None = None
        self._task: asyncio.Task[OpenStream[PortT]] | None = None

    def begin(self, home: DeviceInfo, wish: Wish[PortT], timeout_seconds: float) -> None:
        """Waits for `home` from now on; not if another is waited for, for which it only stood in."""
        if self._task is None:
            self._home = home
            self._task = asyncio.create_task(
                _wait(self._hub, wish, timeout_seconds), name="rtc_audio.device_homecoming"
            )
            self._task.add_done_callback(lambda task: self._on_back())

    def take(self) -> OpenStream[PortT] | None:
        """The stream of the device that is back, once."""
        task = self._task
        if task is None or not task.done():
            return None
        self._task = None
        if task.cancelled() or task.exception() is not None:
            _log.error("a device is not waited for any more", exc_info=task.exception())
            return None
        return task.result()

    async def opened(self, device: DeviceInfo) -> bool:
        """A device has been opened; whether it is the one that was waited for, which is over then."""
        back = self._home is not None and is_same(device, self._home)
        if back:
            await self.aclose()
        return back

    async def aclose(self) -> None:
        """Waits no more; a stream that was not taken is closed."""
        task = self._task
        if task is not None:
            task.cancel()
            await asyncio.wait([task])
            if not task.cancelled() and (stream := self.take()) is not None:
                await self._hub.close(stream)
        self._task = self._home = None


async def _wait(hub: DeviceHub, wish: Wish[PortT], timeout_seconds: float) -> OpenStream[PortT]:
    attempt = 0
    while True:
        await asyncio.sleep(LOOK_SECONDS[min(attempt, len(LOOK_SECONDS) - 1)])
        attempt += 1
        try:
            stream = await _open(hub, wish, timeout_seconds)
        except DeviceError as error:
            _log.debug("not back yet: %s", error)
            continue
        try:
            if await _runs(stream):
                return stream
        except asyncio.CancelledError:
            await hub.close(stream)
            raise
        await hub.close(stream)


async def _open(hub: DeviceHub, wish: Wish[PortT], timeout_seconds: float) -> OpenStream[PortT]:
    """Closes other streams for a new list only when the device is known to be in it."""
    try:
        return await hub.open(wish, timeout_seconds=timeout_seconds)
    except DeviceNotFound:
        await hub.list_anew_if(wish.choose, timeout_seconds=timeout_seconds)
        return await hub.open(wish, timeout_seconds=timeout_seconds)


async def _runs(stream: OpenStream[PortT]) -> bool:
    """Whether blocks come: a device that can be opened need not work."""
    for _ in range(round(FIRST_BLOCK_SECONDS / PROOF_POLL_SECONDS)):
        await asyncio.sleep(PROOF_POLL_SECONDS)
        if not stream.active:
            return False
        if stream.port.blocks >= PROOF_BLOCKS:
            return True
    return False
