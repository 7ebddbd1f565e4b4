"""All streams of the process in one place: PortAudio can only list devices anew when none is open."""

import functools
import logging
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from ..errors import DeviceError, DeviceOpenTimeout, DeviceRefused
from .backend import Backend, FormatRefused, Stream
from .port import Port
from .thread import DeviceThread, Worker
from .types import DeviceInfo, Direction, Latency, StreamFormat, StreamRequest

_log = logging.getLogger("rtc_audio.devices")

OPEN_SECONDS = 5.0
CLOSE_SECONDS = 2.0

PortT = TypeVar("PortT", bound=Port)


@dataclass(frozen=True)
class Wish(Generic[PortT]):
    """What somebody wants opened: the device and its formats are chosen where the list is known."""

    direction: Direction
    label: str
    """What errors call it while no device is chosen."""
    choose: Callable[[list[DeviceInfo]], DeviceInfo]
    formats: Callable[[DeviceInfo], Iterable[StreamFormat]]
    latency: Latency
    make_port: Callable[[StreamFormat], PortT]


class OpenStream(Generic[PortT]):
    """A running stream and the port it calls."""

    def __init__(self, request: StreamRequest, stream: Stream, port: PortT) -> None:
        self.request = request
        self.port = port
        self.latency_seconds = stream.latency_seconds
        self.displaced = False
        """Whether it was closed because the devices had to be listed anew."""
        self._stream: Stream | None = stream
        # The event loop asks `active` while the device thread may be closing: never of a stream that is gone.
        self._lock = threading.Lock()

    @property
    def active(self) -> bool:
        """False once it has stopped or been closed. Never waits."""
        if not self._lock.acquire(blocking=False):
            return True  # being closed
        try:
            return self._stream is not None and self._stream.active
        except Exception:  # noqa: BLE001 - a driver's: what cannot say that it runs does not
            return False
        finally:
            self._lock.release()

    def close(self) -> None:
        """Stop and release it, once; on the device thread."""
        with self._lock:
            stream, self._stream = self._stream, None
            if stream is not None:
                stream.close()


class DeviceHub:
    """Opens, closes and lists on the device thread. One for the process: `default_hub()`."""

    def __init__(self, make_backend: Callable[[], Backend], worker: Worker | None = None) -> None:
        self._make_backend = make_backend
        self._worker: Worker = worker or DeviceThread()
        self._backend: Backend | None = None
        self._open: set[OpenStream[Any]] = set()
        self.listings = 0
        """How often the devices were listed anew."""

    async def open(
        self,
        wish: Wish[PortT],
        *,
        unless_listed_since: int | None = None,
        timeout_seconds: float = OPEN_SECONDS,
    ) -> OpenStream[PortT]:
        """Opens the device of a wish in the first format that it takes, with more latency if it fails with less.

        With `unless_listed_since`, the devices are listed anew before, unless that happened since `listings` had this
        value; it closes every stream (`displaced`). Raises DeviceError.
        """
        try:
            return await self._worker.run(
                lambda: self._do_open(wish, unless_listed_since),
                timeout_seconds=timeout_seconds,
                discard=self._do_close,
            )
        except TimeoutError as error:
            raise DeviceOpenTimeout(wish.label, timeout_seconds) from error

    async def close(self, stream: OpenStream[PortT]) -> None:
        """Closes a stream; after two seconds it is left to its driver. Cancelled, it is closed all the same."""
        try:
            await self._worker.run(lambda: self._do_close(stream), timeout_seconds=CLOSE_SECONDS)
        except TimeoutError:
            _log.warning("%s: the driver does not close it", stream.request.device.name)
        except Exception:  # noqa: BLE001 - a driver's: the stream is of no use any more, whatever it says
            _log.warning("%s: closing failed", stream.request.device.name, exc_info=True)

    async def list_anew_if(
        self, wanted: Callable[[list[DeviceInfo]], object], *, timeout_seconds: float = OPEN_SECONDS
    ) -> None:
        """Lists the devices anew, which closes every stream (`displaced`), unless `wanted` raises a DeviceError.

        It is shown the devices as they are now, seen without disturbing a stream. Raises DeviceError.
        """
        try:
            await self._worker.run(lambda: self._do_list_anew_if(wanted), timeout_seconds=timeout_seconds)
        except TimeoutError as error:
            raise DeviceOpenTimeout("the list of devices", timeout_seconds) from error

    def devices(self, *, timeout_seconds: float = OPEN_SECONDS) -> list[DeviceInfo]:
        """The devices as they are now, or while streams are open, as they were listed last. Blocks."""
        try:
            return self._worker.run_blocking(self._do_list, timeout_seconds=timeout_seconds)
        except TimeoutError as error:
            raise DeviceOpenTimeout("the list of devices", timeout_seconds) from error

    # ---- on the device thread

    @property
    def _driver(self) -> Backend:
        if self._backend is None:
            self._backend = self._make_backend()
        return self._backend

    def _do_list(self) -> list[DeviceInfo]:
        if self._backend is not None and not self._open:  # the first list is new anyway
            self._refresh()
        return self._driver.devices()

    def _do_list_anew_if(self, wanted: Callable[[list[DeviceInfo]], object]) -> None:
        wanted(self._driver.look())
        self._refresh()

    def _refresh(self) -> None:
        if self._worker.stuck:  # a driver still works on PortAudio's old lists
            return
        for stream in tuple(self._open):
            stream.displaced = True
            self._do_close(stream)
        self.listings += 1
        self._driver.refresh()

    def _do_close(self, stream: OpenStream[PortT]) -> None:
        self._open.discard(stream)
        stream.close()

    def _do_open(self, wish: Wish[PortT], unless_listed_since: int | None) -> OpenStream[PortT]:
        if unless_listed_since == self.listings:
            self._refresh()
        device = wish.choose(self._driver.devices())
        latencies: tuple[Latency, ...] = ("low", "high") if wish.latency == "low" else ("high",)
        refused: DeviceRefused | None = None
        for latency in latencies:
            if refused is not None:
                _log.info(
                    "%s: opened with high latency, for low the driver said: %s", device.name, refused.reason
                )
            try:
                stream = self._do_open_with(wish, device, latency)
            except DeviceRefused as error:
                refused = refused or error
                continue
            self._open.add(stream)
            return stream
        raise refused or DeviceError(f"{device.name} has no format to try")

    def _do_open_with(self, wish: Wish[PortT], device: DeviceInfo, latency: Latency) -> OpenStream[PortT]:
        refused: FormatRefused | None = None
        for format in wish.formats(device):
            request = StreamRequest(device, wish.direction, format, latency)
            port = wish.make_port(format)
            try:
                return OpenStream(request, self._driver.open(request, port), port)
            except FormatRefused as error:
                refused = refused or error
        raise refused or DeviceRefused(device.name, "it has too few channels")


def _portaudio() -> Backend:
    from .portaudio import PortAudioBackend

    return PortAudioBackend()


@functools.cache
def default_hub() -> DeviceHub:
    """The hub of this process, over PortAudio."""
    return DeviceHub(_portaudio)
