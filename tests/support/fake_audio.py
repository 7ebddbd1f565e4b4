"""Sound cards in virtual time: a driver with the callback contract of the real one, and a loop whose clock jumps.

def test_something() -> None:
    async def scenario(cards: FakeCards) -> None:
        microphone = Microphone(hub=cards.hub)
        ...
    run_with_cards(scenario)
"""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import Future
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from rtc_audio.devices.backend import FormatRefused, StreamPort
from rtc_audio.devices.hub import DeviceHub
from rtc_audio.devices.types import DeviceInfo, Direction, StreamRequest
from rtc_audio.errors import DeviceRefused
from support.command_line import SPEECH, read_wav
from support.virtual_time import VirtualTimeLoop

T = TypeVar("T")
Mono = NDArray[np.float32]

DEVICE_SECONDS = 0.01
"""Between a fake device and its driver."""
ROOM_BLOCKS = 5  # the echo comes 50 ms after it is handed to the device


class VirtualWorker:
    """A `Worker` whose work takes as long as the cards say."""

    def __init__(self, cards: "FakeCards") -> None:
        self._cards = cards
        self._turn = asyncio.Lock()
        self.stuck = 0

    async def run(
        self, work: Callable[[], T], /, *, timeout_seconds: float, discard: Callable[[T], None] | None = None
    ) -> T:
        async with self._turn:
            self._cards.spent_seconds = 0.0
            outcome: Future[T] = Future()
            try:
                outcome.set_result(work())
            except Exception as error:  # noqa: BLE001 - it comes when the time of the work is over
                outcome.set_exception(error)
            late = self._cards.spent_seconds - timeout_seconds

            def throw_away() -> None:
                if discard is not None and outcome.exception() is None:
                    discard(outcome.result())

            try:
                await asyncio.sleep(min(self._cards.spent_seconds, timeout_seconds))
            except asyncio.CancelledError:
                throw_away()
                raise
        if late > 0:
            asyncio.get_running_loop().call_later(late, throw_away)
            raise TimeoutError
        return outcome.result()

    def run_blocking(self, work: Callable[[], T], /, *, timeout_seconds: float) -> T:
        return work()


def card(index: int, name: str, inputs: int = 0, outputs: int = 0, **others: Any) -> DeviceInfo:
    """A device of a plausible kind."""
    fields: dict[str, Any] = {"host_api": "Core Audio", "default_rate_hz": 48000, **others}
    return DeviceInfo(index=index, name=name, inputs=inputs, outputs=outputs, **fields)


class FakeStream:
    """A `Stream` that calls back every 10 ms of its own clock, until it is closed or something happens to it."""

    latency_seconds = DEVICE_SECONDS

    def __init__(self, cards: "FakeCards", request: StreamRequest, port: StreamPort, delay: float) -> None:
        self.request = request
        self.active = True
        self.closed = False
        self.paused = request.device.name in cards.broken
        """Callbacks stop, and nothing else says so."""
        self.silent = False
        """Digital zeros are recorded."""
        self.flagging = False
        self.raising = False
        """Blocks of a shape that nobody expects."""
        self.ppm = cards.ppm.get(request.device.name, 0.0)
        self.played: list[Mono] = []
        self.played_at: list[float] = []
        self.frames = 0
        self._cards, self._port = cards, port
        self._loop = asyncio.get_running_loop()
        self.at = self._loop.time() + delay
        """When the next block is due."""
        self._timer: asyncio.TimerHandle | None = None
        self._schedule()

    def close(self) -> None:
        self.end()
        self.closed = True

    def end(self) -> None:
        """The stream stops, as when its server dies."""
        if self.active:
            self.active = False
            if self._timer is not None:
                self._timer.cancel()
            self._port.on_finished()

    def _schedule(self) -> None:
        self.at += self.request.format.block_seconds / (1 + self.ppm * 1e-6)
        self._timer = self._loop.call_at(self.at, self._cards.tick, self.at)

    def tick(self) -> None:
        """The device's next block, at its time."""
        now = self.at
        self._schedule()
        if self.paused:
            return
        frames, channels = self.request.format.block_frames, self.request.format.channels
        if self.request.direction == "input":
            block = np.zeros((frames, channels), np.float32)
            if not self.silent:
                rate_hz, place = self.request.format.rate_hz, np.arange(self.frames, self.frames + frames)
                for channel in range(channels):
                    block[:, channel] = self._cards.sound(self.request.device.name, channel, place / rate_hz)
            self.frames += frames
            at = now - DEVICE_SECONDS - self.request.format.block_seconds
            self._call(block, at)
            return
        block = np.full((frames, channels), np.nan, np.float32)
        self._call(block, now + DEVICE_SECONDS)
        self.frames += frames
        self.played.append(block)
        self.played_at.append(now + DEVICE_SECONDS)

    def _call(self, block: NDArray[np.float32], at_seconds: float) -> None:
        if self.raising:
            block = np.zeros((len(block) + 1, block.shape[1] + 1), np.float32)
        self._port.on_block(block.data.cast("B"), self._loop.time(), at_seconds, self.flagging)

    def heard(self) -> Mono:
        """All that was played on the first channel."""
        return np.concatenate(self.played)[:, 0] if self.played else np.zeros(0, np.float32)


class FakeCards:
    """A `Backend` over `plugged` devices; like PortAudio it sees changes of it only when asked to list anew."""

    def __init__(self, *devices: DeviceInfo) -> None:
        self.plugged = list(devices)
        self.listed = list(devices)
        self.refreshes = self.looks = 0
        self.requests: list[StreamRequest] = []
        self.streams: list[FakeStream] = []
        self.spent_seconds = 0.0
        self.open_seconds: dict[str, float] = {}
        self.refusals: dict[str, list[Exception]] = {}
        """By device, what the next attempts raise."""
        self.accepts: dict[str, set[tuple[int, int]]] = {}
        """By device, rates and channel counts; all if it is not here."""
        self.broken: set[str] = set()
        """Devices that are opened and never call back."""
        self.late_seconds = 0.0
        """By how much a block came late, at the most: the loop stood still."""
        self.ppm: Mapping[str, float] = {}
        self.sound: Callable[[str, int, NDArray[np.float64]], NDArray[np.float64]] = (
            lambda name, channel, seconds: 0.3 * np.sin(2 * np.pi * 440 * seconds + 0.1)
        )
        self.hub = DeviceHub(lambda: self, VirtualWorker(self))

    # ---- Backend

    def devices(self) -> list[DeviceInfo]:
        return list(self.listed)

    def look(self) -> list[DeviceInfo]:
        self.looks += 1
        self.spent_seconds += 0.2
        return list(self.plugged)

    def refresh(self) -> None:
        assert not self.open_streams, "PortAudio would kill these streams"
        self.refreshes += 1
        self.spent_seconds += 0.05
        self.listed = list(self.plugged)

    def open(self, request: StreamRequest, port: StreamPort) -> FakeStream:
        self.requests.append(request)
        self.spent_seconds += self.open_seconds.get(request.device.name, 0.004)
        name, format = request.device.name, request.format
        if self.refusals.get(name):
            raise self.refusals[name].pop(0)
        if request.device not in self.plugged:
            raise DeviceRefused(name, "Device unavailable")
        if name in self.accepts and (format.rate_hz, format.channels) not in self.accepts[name]:
            raise FormatRefused(name, f"Invalid sample rate ({format.rate_hz} Hz, {format.channels} ch)")
        stream = FakeStream(self, request, port, self.spent_seconds)
        self.streams.append(stream)
        return stream

    # ---- what happens to them

    def tick(self, at: float) -> None:
        """All blocks that are due, in the order of their times: drivers do not wait for a loop that stands still."""
        now = max(
            at, asyncio.get_running_loop().time()
        )  # timers fire early by less than the clock's resolution
        while due := [stream for stream in self.open_streams if stream.active and stream.at <= now]:
            first = min(due, key=lambda stream: stream.at)
            self.late_seconds = max(self.late_seconds, now - first.at)
            first.tick()

    @property
    def open_streams(self) -> list[FakeStream]:
        return [stream for stream in self.streams if not stream.closed]

    def stream(self, direction: Direction) -> FakeStream:
        """The one that runs that way."""
        (found,) = (stream for stream in self.open_streams if stream.request.direction == direction)
        return found

    def unplug(self, name: str) -> None:
        """Its streams end, and the system knows it no more."""
        self.plugged = [device for device in self.plugged if device.name != name]
        for stream in self.open_streams:
            if stream.request.device.name == name:
                stream.end()

    def plug(self, device: DeviceInfo) -> None:
        """It is there (again)."""
        self.plugged.append(device)


LAPTOP = (
    card(0, "Built-in Microphone", inputs=1, is_default_input=True),
    card(1, "Built-in Speakers", outputs=2, is_default_output=True),
    card(2, "USB Headset", inputs=1, outputs=2),
)


def make_room(cards: FakeCards, *, speak: tuple[float, float] | None, echo: float = 0.5) -> None:
    """Somebody speaks between two times of the microphone, and it hears the loudspeaker."""
    speech, rate_hz = read_wav(SPEECH)
    begun: dict[int, int] = {}  # by loudspeaker, the microphone's block in which it began

    def sound(name: str, channel: int, seconds: NDArray[np.float64]) -> NDArray[np.float64]:
        heard = np.random.default_rng(round(seconds[0] * 100)).standard_normal(len(seconds)) * 1e-4
        if speak is not None and speak[0] <= seconds[0] < speak[1]:
            heard += np.interp(seconds - speak[0], np.arange(len(speech)) / rate_hz, speech)
        for stream in cards.open_streams:
            if stream.request.direction == "output":  # by their clocks: either may be called late
                now = round(seconds[0] * 100)
                at = now - begun.setdefault(id(stream), now - len(stream.played)) - ROOM_BLOCKS
                heard += echo * stream.played[at][:, 0] if 0 <= at < len(stream.played) else 0.0
        return heard

    cards.sound = sound


def run_with_cards(
    scenario: Callable[[FakeCards], Coroutine[Any, Any, None]], *devices: DeviceInfo
) -> FakeCards:
    """Runs a scenario in virtual time, by default on a laptop with a headset; nothing may be left open."""

    async def main() -> None:
        await scenario(cards)
        left = asyncio.all_tasks() - {asyncio.current_task()}
        assert not left, f"tasks are left: {left}"
        assert not cards.open_streams, "a stream is left open"

    cards = FakeCards(*(devices or LAPTOP))
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        runner.run(main())
    return cards
