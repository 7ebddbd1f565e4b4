"""What a driver's thread spends in our callbacks, for blocks of 10 ms at 48 kHz.

A thread in the driver's place calls what PortAudio would call, with the objects that sounddevice makes for each call,
once every 10 ms: caches are cold then, and the processor may have slept. Meanwhile the event loop does its half and the
work of a call: meters, statistics; "loop busy": it never waits and holds the GIL. CPU time, medians, and what passes
on the wall clock. The anchor is the least that any callback does, one numpy copy of a block, on the same thread in
between; "nothing" is what the measuring takes.
"""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import asyncio
import statistics
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import numpy as np
from _sounddevice import ffi  # type: ignore[import-untyped]  # declarations only, no PortAudio
from bench_common import Row

from rtc_audio.devices.capture import Capture, CaptureReader
from rtc_audio.devices.feed import Feed
from rtc_audio.devices.portaudio import callback
from rtc_audio.devices.render import Render
from rtc_audio.devices.types import DeviceInfo, Direction, StreamFormat, StreamRequest
from rtc_audio.levels import LevelMeter

FORMAT = StreamFormat(48000, 1)
"""What every driver is asked for first."""
GOAL_US = 50.0
CALLBACKS = "microphone, callback", "loudspeaker, callback"
CARD = DeviceInfo(0, "card", "bench", 1, 2, 48000)
Spent = defaultdict[str, list[float]]


class Flags:
    """As sounddevice's CallbackFlags, which cannot be had without PortAudio: none is set."""

    __slots__ = ("_flags",)

    def __init__(self, flags: int = 0) -> None:
        self._flags = flags

    def __bool__(self) -> bool:
        return bool(self._flags)


def run(quick: bool) -> list[Row]:
    """The callbacks, and the event loop's half of the exchange."""
    rounds = 100 if quick else 500
    spent = asyncio.run(_measure(rounds, time.thread_time_ns))
    rows = [_row(name, us, spent) for name, us in spent.items() if name != "numpy copy"]
    for busy in (False, True):
        spent = asyncio.run(_measure(rounds, time.perf_counter_ns, busy=busy))
        for name in CALLBACKS:
            label = f"{name}, wall clock" + ", loop busy" * busy
            rows.append(_row(f"{label}, median", spent[name], spent))
            rows.append(_row(f"{label}, 95 %", statistics.quantiles(spent[name], n=20)[-1:], spent))
    return rows


async def _measure(rounds: int, clock: Callable[[], int], *, busy: bool = False) -> Spent:
    spent: Spent = defaultdict(list)
    capture = Capture(FORMAT, lambda: None, clock=time.monotonic, channel=None, backlog_seconds=0.2)
    render = Render(FORMAT, lambda: None)
    driver = threading.Thread(target=_drive, args=(capture, render, rounds, clock, spent))
    driver.start()
    await _call(capture, render, driver, clock, spent, busy=busy)
    driver.join()
    return spent


def _drive(capture: Capture, render: Render, rounds: int, clock: Callable[[], int], spent: Spent) -> None:
    """The driver's thread."""
    block = (0.1 * np.random.default_rng(1).standard_normal((FORMAT.block_frames, 1))).astype(np.float32)
    copy = np.zeros_like(block)
    recorded, asked = ffi.new("float[]", block.size), ffi.new("float[]", block.size)
    ffi.buffer(recorded)[:] = block.tobytes()
    times = ffi.new("PaStreamCallbackTimeInfo *", {"currentTime": 1.0, "inputBufferAdcTime": 0.99})
    times.outputBufferDacTime = 1.02
    record = callback(_request("input", FORMAT), capture)
    play = callback(_request("output", FORMAT), render)

    def calling(act: Callable[[Any, int, Any, Any], None], memory: Any) -> Callable[[], None]:
        data, status = ffi.buffer(memory), Flags()
        return lambda: act(data, FORMAT.block_frames, times, status)

    work: dict[str, Callable[[], object]] = {
        "nothing": lambda: None,
        "microphone, callback": calling(record, recorded),
        "numpy copy": lambda: copy.__setitem__(..., block),
        "loudspeaker, callback": calling(play, asked),
    }
    for _ in range(rounds):
        for name, act in work.items():
            time.sleep(FORMAT.block_seconds / len(work))
            _timed(spent[name], clock, act)


async def _call(
    capture: Capture,
    render: Render,
    driver: threading.Thread,
    clock: Callable[[], int],
    spent: Spent,
    *,
    busy: bool,
) -> None:
    """The event loop's half, as a call does it: 20 ms to the track, a block to the device, levels of both."""
    loop = asyncio.get_running_loop()
    voice = np.full((FORMAT.block_frames, 1), 0.1, np.float32)
    reader, feed = CaptureReader(capture), Feed(render, lambda n: voice[:n], FORMAT.rate_hz)
    meters = LevelMeter(), LevelMeter()
    read_at = loop.time()

    def read() -> None:
        meters[0].update(reader.read(2 * FORMAT.block_frames), 0.02)

    def play() -> None:
        feed.fill(loop.time())
        for pcm, _ in feed.written():
            meters[1].update(pcm, 0.01)

    while driver.is_alive():
        _timed(spent["loudspeaker, event loop"], clock, play)
        if loop.time() >= read_at:
            read_at += 0.02
            _timed(spent["microphone, event loop, 20 ms"], clock, read)
        next_at = feed.next_at(loop.time())
        while busy and loop.time() < next_at:
            pass
        await asyncio.sleep(next_at - loop.time())


def _timed(spent: list[float], clock: Callable[[], int], act: Callable[[], object]) -> None:
    began = clock()
    act()
    spent.append((clock() - began) / 1000)


def _request(direction: Direction, format: StreamFormat) -> StreamRequest:
    return StreamRequest(CARD, direction, format, "low")


def _row(name: str, us: list[float], spent: Spent) -> Row:
    ours, anchor = statistics.median(us), statistics.median(spent["numpy copy"])
    has_goal = name in CALLBACKS
    return Row(
        name=name,
        ours=ours,
        anchor=anchor,
        ratio=ours / anchor,
        goal=f"≤ {GOAL_US:g} µs" if has_goal else "",
        unit="µs per block",
        met=ours <= GOAL_US if has_goal else None,
    )
