"""One device, kept open: noticed when it is lost, replaced when there is one, announced either way."""

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Generic

from ..errors import DeviceError
from . import selection
from .health import POLL_SECONDS, ZeroWatch
from .homecoming import Homecoming, chooser, is_same
from .hub import DeviceHub, OpenStream, PortT, Wish
from .port import Wake
from .reports import Reports
from .settings import LineSettings
from .types import DeviceInfo, Latency, StreamFormat
from .watch import Trouble, Watch

_log = logging.getLogger("rtc_audio.devices")

BACKOFF_SECONDS = (0.0, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
"""Before each attempt at a lost device; the last one repeats."""


FADE_SECONDS = 0.03  # for the last blocks of a stream that another one follows


class DeviceLine(Generic[PortT]):
    """Opens a device and keeps it: `port` is that of the running stream, None while there is none.

    `make_port(format, on_finished)` is called on the device thread for each attempt; `on_change` on the event loop when
    `port` has changed. All else is on the event loop. Can be opened again after `aclose`.
    """

    def __init__(
        self,
        hub: DeviceHub,
        settings: LineSettings,
        make_port: Callable[[StreamFormat, Callable[[], None]], PortT],
        on_change: Callable[[], None],
    ) -> None:
        self.settings = settings
        self._hub = hub
        self._make_port = make_port
        self._on_change = on_change
        self._latency: Latency = settings.latency
        self._running: Watch[PortT] | None = None
        self._opening: asyncio.Task[OpenStream[PortT]] | None = None
        self._watching: asyncio.Task[None] | None = None
        self._closing: asyncio.Task[None] | None = None
        self._news = asyncio.Event()
        self._zeros = ZeroWatch()
        self._reports = Reports(settings)
        self._lost_before = 0.0  # by the streams before this one
        self._lives = 0  # `aclose` ends one
        self._homecoming = Homecoming[PortT](hub, lambda: self._news.set())

    # ---- what runs

    @property
    def port(self) -> PortT | None:
        """That of the running stream."""
        return None if self._running is None else self._running.stream.port

    @property
    def device(self) -> DeviceInfo | None:
        """The device that is open."""
        return None if self._running is None else self._running.stream.request.device

    @property
    def latency_seconds(self) -> float:
        """The driver's word for the way between this program and the device; 0 while none is open."""
        return 0.0 if self._running is None else self._running.stream.latency_seconds

    @property
    def lost_seconds(self) -> float:
        """Sound lost between device and program since `open`."""
        return self._lost_before + (0.0 if self.port is None else self.port.lost_seconds)

    # ---- life

    async def open(self) -> None:
        """Opens the device; does nothing if that is done. Raises DeviceError; cancelled, nothing stays open."""
        if self._closing is not None:
            await asyncio.shield(self._closing)
        if self._watching is not None:
            return
        if self._opening is None:
            self._latency, self._lost_before = self.settings.latency, 0.0
            self._news, self._zeros, self._reports = asyncio.Event(), ZeroWatch(), Reports(self.settings)
            wish = self._wish(self._chosen, self._latency)
            self._opening = asyncio.create_task(
                self._hub.open(wish, timeout_seconds=self.settings.open_timeout_seconds),
                name="rtc_audio.device_open",
            )
        opening, life = self._opening, self._lives
        try:
            await asyncio.wait([opening])
        except asyncio.CancelledError:
            opening.cancel()
            await asyncio.wait([opening])
            raise
        finally:
            self._opening = None
        if opening.cancelled() or life != self._lives:
            if not opening.cancelled() and opening.exception() is None:
                await self._hub.close(opening.result())
            raise DeviceError(f"{self.settings.label} was closed while it was being opened")
        if self._watching is None:  # else another caller has got here first
            self._attach(opening.result())
            self._watching = asyncio.create_task(self._watch_guarded(), name="rtc_audio.device_watch")

    async def aclose(self) -> None:
        """Closes the device, within two seconds whatever its driver does. Harmless when repeated or cancelled."""
        if self._closing is None:
            self._lives += 1
            self._closing = asyncio.create_task(self._close(), name="rtc_audio.device_close")
        await asyncio.shield(self._closing)

    async def _close(self) -> None:
        try:
            if self._opening is not None:
                self._opening.cancel()
            watching, self._watching = self._watching, None
            if watching is not None:
                watching.cancel()
                await asyncio.wait([watching])
            await self._homecoming.aclose()
            stream = self._detach()
            if stream is not None:
                await self._hub.close(stream)
        finally:
            self._closing = None

    def _chosen(self, devices: list[DeviceInfo]) -> DeviceInfo:
        return selection.choose(devices, self.settings.direction, self.settings.device)

    def _wish(self, choose: Callable[[list[DeviceInfo]], DeviceInfo], latency: Latency) -> Wish[PortT]:
        settings, wake = self.settings, Wake(asyncio.get_running_loop(), self._news.set)
        return Wish(
            direction=settings.direction,
            label=settings.label,
            choose=choose,
            formats=lambda device: selection.formats(
                device, settings.direction, settings.rate_hz, settings.channels
            ),
            latency=latency,
            make_port=lambda format: self._make_port(format, wake),
        )

    def _attach(self, stream: OpenStream[PortT]) -> None:
        now = asyncio.get_running_loop().time()
        self._latency = stream.request.latency
        self._news.clear()  # of the stream before
        self._running = Watch(stream, self._reports, self._zeros, now, mend=self.settings.reopen)
        _log.debug("%s: open, %s", stream.request.device, stream.request.format)
        self._on_change()

    def _detach(self) -> OpenStream[PortT] | None:
        if self._running is None:
            return None
        self._lost_before = self.lost_seconds
        stream, self._running = self._running.stream, None
        self._on_change()
        return stream

    # ---- loss and return

    async def _watch_guarded(self) -> None:
        try:
            await self._watch()
        except Exception as error:  # noqa: BLE001 - a driver's binding, or a fault in here: nobody awaits this task
            _log.exception("a device is not watched any more")
            if (device := self.device) is not None:
                self._reports.tell("device_lost", device, f"{type(error).__name__} while it was watched")
            await self._homecoming.aclose()
            if (stream := self._detach()) is not None:
                await self._hub.close(stream)

    async def _watch(self) -> None:
        while True:
            trouble = await self._until_trouble()
            if isinstance(trouble, OpenStream):
                await self._come_home(trouble)
                continue
            stream = self._detach()
            assert stream is not None
            device = stream.request.device
            if trouble.wants_latency:
                self._latency = "high"
                await asyncio.sleep(FADE_SECONDS)
            if trouble.kind is not None:
                self._reports.tell(trouble.kind, device, trouble.reason)
            await self._hub.close(stream)
            if not self.settings.reopen and not stream.displaced:
                return
            if not await self._reopen(device, announced=trouble.kind == "device_lost"):
                return

    async def _until_trouble(self) -> Trouble | OpenStream[PortT]:
        """Or until the device that was replaced is back: a stream of it."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(POLL_SECONDS):
                    await self._news.wait()
            self._news.clear()
            assert self._running is not None
            trouble = self._running.look(asyncio.get_running_loop().time(), self.lost_seconds)
            if trouble is not None:
                return trouble
            if (back := self._homecoming.take()) is not None:
                return back

    async def _reopen(self, lost: DeviceInfo, *, announced: bool) -> bool:
        """Tries until a device is open: as listed first, then listed anew each time.

        False without `reopen`: a stream that was only closed for the list has one attempt.
        """
        attempt = 0
        listed: int | None = None
        while True:
            await asyncio.sleep(BACKOFF_SECONDS[min(attempt, len(BACKOFF_SECONDS) - 1)])
            try:
                stream = self._homecoming.take() or await self._hub.open(
                    # Listed and yet not to be opened, time and again: then the default has its turn in between.
                    self._wish(
                        partial(self._replacement, lost, in_vain=attempt >= 2 and attempt % 2 == 0),
                        self._latency,
                    ),
                    unless_listed_since=listed,
                    timeout_seconds=self.settings.open_timeout_seconds,
                )
                break
            except DeviceError as error:
                if not announced:
                    announced = True
                    self._reports.tell("device_lost", lost, str(error))
                if not self.settings.reopen:
                    return False
                _log.debug("%s: not back yet: %s", lost.name, error)
            attempt, listed = attempt + 1, self._hub.listings
        self._attach(stream)
        device = stream.request.device
        if await self._homecoming.opened(device):
            self._tell_of_return(device, lost)
        elif not is_same(device, lost):
            self._reports.tell("device_changed", device, f"in place of {lost.name}")
            self._wait_for(lost)
        elif announced:
            self._reports.tell("device_restored", device, "it works again")
        return True

    def _replacement(self, lost: DeviceInfo, devices: list[DeviceInfo], *, in_vain: bool) -> DeviceInfo:
        settings = self.settings
        return selection.replace(devices, settings.direction, settings.device, lost, in_vain=in_vain)

    # ---- the device that was replaced comes back

    def _wait_for(self, home: DeviceInfo) -> None:
        settings = self.settings
        if settings.reopen:
            choose = chooser(home, settings.direction, as_default=settings.device is None)
            wish = self._wish(choose, settings.latency)
            self._homecoming.begin(home, wish, settings.open_timeout_seconds)

    async def _come_home(self, stream: OpenStream[PortT]) -> None:
        """Both streams run: from one to the other without a gap."""
        assert self._running is not None
        instead = self._running.stream
        self._lost_before, self._zeros = self.lost_seconds, ZeroWatch()
        self._attach(stream)
        await self._homecoming.opened(stream.request.device)
        self._tell_of_return(stream.request.device, instead.request.device)
        try:
            await asyncio.sleep(FADE_SECONDS)
        finally:
            await self._hub.close(instead)

    def _tell_of_return(self, device: DeviceInfo, instead: DeviceInfo) -> None:
        self._reports.tell("device_restored", device, f"it is back, in place of {instead.name}")
