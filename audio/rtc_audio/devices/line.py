"""One device, kept open: noticed when it is lost, replaced when there is one, announced either way."""

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Generic

from ..errors import DeviceError
from . import selection
from .health import POLL_SECONDS, FlagWatch, Heartbeat, ZeroWatch
from .hub import DeviceHub, OpenStream, PortT, Wish
from .port import Wake
from .reports import Reports
from .settings import LineSettings
from .types import DeviceEventKind, DeviceInfo, Latency, StreamFormat

_log = logging.getLogger("rtc_audio.devices")

BACKOFF_SECONDS = (0.0, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
"""Before each attempt at a lost device; the last one repeats."""


@dataclass
class _Running(Generic[PortT]):
    """The stream of the moment, and what watches it."""

    stream: OpenStream[PortT]
    heartbeat: Heartbeat
    flags: FlagWatch = field(default_factory=FlagWatch)


@dataclass(frozen=True)
class _Trouble:
    """Why the stream has to be opened anew, and what is told of it; `kind` None: nothing."""

    kind: DeviceEventKind | None
    reason: str


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
        self._running: _Running[PortT] | None = None
        self._opening: asyncio.Task[OpenStream[PortT]] | None = None
        self._watching: asyncio.Task[None] | None = None
        self._closing: asyncio.Task[None] | None = None
        self._news = asyncio.Event()
        self._zeros = ZeroWatch()
        self._reports = Reports(settings)
        self._lost_before = 0.0  # by the streams before this one
        self._lives = 0  # `aclose` ends one

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
            wish = self._wish(lambda devices: self._chosen(devices))
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
            stream = self._detach()
            if stream is not None:
                await self._hub.close(stream)
        finally:
            self._closing = None

    def _chosen(self, devices: list[DeviceInfo]) -> DeviceInfo:
        return selection.choose(devices, self.settings.direction, self.settings.device)

    def _wish(self, choose: Callable[[list[DeviceInfo]], DeviceInfo]) -> Wish[PortT]:
        settings, wake = self.settings, Wake(asyncio.get_running_loop(), self._news.set)
        return Wish(
            direction=settings.direction,
            label=settings.label,
            choose=choose,
            formats=lambda device: selection.formats(
                device, settings.direction, settings.rate_hz, settings.channels
            ),
            latency=self._latency,
            make_port=lambda format: self._make_port(format, wake),
        )

    def _attach(self, stream: OpenStream[PortT]) -> None:
        now = asyncio.get_running_loop().time()
        self._latency = stream.request.latency
        self._news.clear()  # of the stream before
        self._running = _Running(stream, Heartbeat(stream.request.format.block_seconds, now))
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
            if (stream := self._detach()) is not None:
                await self._hub.close(stream)

    async def _watch(self) -> None:
        while True:
            trouble = await self._until_trouble()
            stream = self._detach()
            assert stream is not None
            device = stream.request.device
            if trouble.kind is not None:
                self._reports.tell(trouble.kind, device, trouble.reason)
            await self._hub.close(stream)
            if not self.settings.reopen and not stream.displaced:
                return
            if not await self._reopen(device, announced=trouble.kind == "device_lost"):
                return

    async def _until_trouble(self) -> _Trouble:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(POLL_SECONDS):
                    await self._news.wait()
            self._news.clear()
            running = self._running
            assert running is not None
            if (trouble := self._look(running)) is not None:
                return trouble

    def _look(self, running: _Running[PortT]) -> _Trouble | None:
        now, stream, port = asyncio.get_running_loop().time(), running.stream, running.stream.port
        lost = running.heartbeat.check(now, blocks=port.blocks, active=stream.active, finished=port.finished)
        if lost is not None:
            return _Trouble(None, "listed anew") if stream.displaced else _Trouble("device_lost", lost)
        self._reports.faults(port, stream.request.device)
        self._reports.losses(now, self.lost_seconds, stream.request.device)
        if self.settings.reopen and running.flags.check(now, port.flagged) and self._latency == "low":
            self._latency = "high"
            _log.info(
                "%s: opened anew with high latency, for the driver loses sound", stream.request.device.name
            )
            return _Trouble(None, "high latency")
        return self._look_at_zeros(port, stream.request.device)

    def _look_at_zeros(self, port: PortT, device: DeviceInfo) -> _Trouble | None:
        if not port.blocks:
            return None
        if not port.zero_blocks:
            if self._zeros.heard():
                self._reports.tell("device_restored", device, "it can be heard again")
            return None
        seconds = port.zero_blocks * port.format.block_seconds
        if not self._zeros.check(seconds):
            return None
        told, self._zeros.silent = self._zeros.silent, True
        if not told:
            self._reports.tell(
                "device_silent",
                device,
                f"only digital zeros for {seconds:.0f} s: muted, removed or not permitted",
            )
        return _Trouble(None, "silent") if self.settings.reopen else None

    async def _reopen(self, lost: DeviceInfo, *, announced: bool) -> bool:
        """Tries until a device is open: as listed first, then listed anew each time.

        False without `reopen`: a stream that was only closed for the list has one attempt.
        """
        attempt = 0
        listed: int | None = None
        while True:
            await asyncio.sleep(BACKOFF_SECONDS[min(attempt, len(BACKOFF_SECONDS) - 1)])
            try:
                stream = await self._hub.open(
                    # Listed and yet not to be opened, time and again: then the default has its turn in between.
                    self._wish(partial(self._replacement, lost, in_vain=attempt >= 2 and attempt % 2 == 0)),
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
        if (device.host_api, device.name) != (lost.host_api, lost.name):
            self._reports.tell("device_changed", device, f"in place of {lost.name}")
        elif announced:
            self._reports.tell("device_restored", device, "it works again")
        return True

    def _replacement(self, lost: DeviceInfo, devices: list[DeviceInfo], *, in_vain: bool) -> DeviceInfo:
        settings = self.settings
        return selection.replace(devices, settings.direction, settings.device, lost, in_vain=in_vain)
