"""What a driver's thread spends in our callbacks, for blocks of 10 ms at 48 kHz; CPU time, medians.

A thread in the driver's place calls what PortAudio would call, once every 10 ms: caches are cold then, and the
processor may have slept. Meanwhile the event loop does its half and the work of a call: meters, statistics. The anchor
is the least that any callback does, one numpy copy of a block, on the same thread in between.
"""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import asyncio
import statistics
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
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
CARD = DeviceInfo(0, "card", "bench", 1, 2, 48000)
TIMES = SimpleNamespace(currentTime=1.0, inputBufferAdcTime=0.99, outputBufferDacTime=1.02)
"""PaStreamCallbackTimeInfo."""
FINE = 0
"""CallbackFlags of which none is set."""

Spent = defaultdict[str, list[float]]


def run(quick: bool) -> list[Row]:
    """The callbacks, and the event loop's half of the exchange."""
    medians = {
        name: statistics.median(us) for name, us in asyncio.run(_measure(100 if quick else 500)).items()
    }
    anchor = medians.pop("numpy copy")
    return [_row(name, us, anchor) for name, us in medians.items()]


async def _measure(rounds: int) -> Spent:
    spent: Spent = defaultdict(list)
    capture = Capture(FORMAT, lambda: None, clock=time.monotonic, channel=None, backlog_seconds=0.2)
    render = Render(FORMAT, lambda: None, capacity_seconds=0.12)
    driver = threading.Thread(target=_drive, args=(capture, render, rounds, spent))
    driver.start()
    await _call(capture, render, driver, spent)
    driver.join()
    return spent


def _drive(capture: Capture, render: Render, rounds: int, spent: Spent) -> None:
    """The driver's thread."""
    block = (0.1 * np.random.default_rng(1).standard_normal((FORMAT.block_frames, 1))).astype(np.float32)
    copy, out = np.zeros_like(block), np.zeros_like(block)
    record = callback(_request("input", FORMAT), capture)
    play = callback(_request("output", FORMAT), render)
    recorded, asked = block.data.cast("B"), out.data.cast("B")
    work: dict[str, Callable[[], object]] = {
        "microphone, callback": lambda: record(recorded, len(block), TIMES, FINE),
        "numpy copy": lambda: copy.__setitem__(..., block),
        "loudspeaker, callback": lambda: play(asked, len(out), TIMES, FINE),
    }
    for _ in range(rounds):
        for name, act in work.items():
            time.sleep(FORMAT.block_seconds / len(work))
            _timed(spent[name], act)


async def _call(capture: Capture, render: Render, driver: threading.Thread, spent: Spent) -> None:
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
        _timed(spent["loudspeaker, event loop"], play)
        if loop.time() >= read_at:
            read_at += 0.02
            _timed(spent["microphone, event loop, 20 ms"], read)
        await asyncio.sleep(feed.next_at(loop.time()) - loop.time())


def _timed(spent: list[float], act: Callable[[], object]) -> None:
    began = time.thread_time_ns()
    act()
    spent.append((time.thread_time_ns() - began) / 1000)


def _request(direction: Direction, format: StreamFormat) -> StreamRequest:
    return StreamRequest(CARD, direction, format, "low")


def _row(name: str, us: float, anchor_us: float) -> Row:
    in_callback = "callback" in name
    return Row(
        name=name,
        ours=us,
        anchor=anchor_us,
        ratio=us / anchor_us,
        goal=f"≤ {GOAL_US:g} µs" if in_callback else "",
        unit="µs per block",
        met=us <= GOAL_US if in_callback else None,
    )
