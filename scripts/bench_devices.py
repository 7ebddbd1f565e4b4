"""What a driver's thread spends in our callbacks, for blocks of 10 ms at 48 kHz; CPU time, medians.

Once with one call every 10 ms, as in life: caches are cold then, and the processor may have slept. Once back to back:
what the work itself takes. The anchor is the least that any callback does, one numpy copy of a block, at the same
moments.
"""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import asyncio
import statistics
import time
from collections.abc import Callable

import numpy as np
from bench_common import Row

from rtc_audio.devices.capture import Capture, CaptureReader
from rtc_audio.devices.feed import Feed
from rtc_audio.devices.port import Wake
from rtc_audio.devices.render import Render
from rtc_audio.devices.types import StreamFormat

FORMAT = StreamFormat(48000, 1)
GOAL_US = 50.0


def run(quick: bool) -> list[Row]:
    """The callbacks, and the event loop's half of the exchange."""
    return asyncio.run(_measure(100 if quick else 500))


async def _measure(rounds: int) -> list[Row]:
    block = (0.1 * np.random.default_rng(1).standard_normal((FORMAT.block_frames, 1))).astype(np.float32)
    out, copy = np.zeros_like(block), np.zeros_like(block)
    wake = Wake(asyncio.get_running_loop(), lambda: None)
    capture = Capture(FORMAT, wake, clock=time.monotonic, channel=None, backlog_seconds=0.2)
    render = Render(FORMAT, wake, on_played=wake, capacity_seconds=0.12)
    reader, feed = CaptureReader(capture), Feed(render, lambda n: block[:n], FORMAT.rate_hz)
    work: dict[str, Callable[[], object]] = {
        "numpy copy": lambda: copy.__setitem__(..., block),
        "microphone, callback": lambda: capture.on_block(block, time.monotonic() - 0.01, False),
        "loudspeaker, callback with wake-up": lambda: render.on_block(out, time.monotonic() + 0.02, False),
        "microphone, event loop": lambda: reader.read(FORMAT.block_frames),
        "loudspeaker, event loop": lambda: exchange(feed),
    }
    rows = []
    for when, pause_seconds in (("every 10 ms", FORMAT.block_seconds / len(work)), ("back to back", 0.0)):
        medians = await _medians(work, rounds, pause_seconds)
        anchor = medians.pop("numpy copy")
        rows += [_row(f"{name}, {when}", us, anchor) for name, us in medians.items()]
    return rows


async def _medians(
    work: dict[str, Callable[[], object]], rounds: int, pause_seconds: float
) -> dict[str, float]:
    spent: dict[str, list[float]] = {name: [] for name in work}
    for _ in range(rounds):
        for name, act in work.items():
            await asyncio.sleep(pause_seconds)
            began = time.thread_time_ns()
            act()
            spent[name].append((time.thread_time_ns() - began) / 1000)
    return {name: statistics.median(times) for name, times in spent.items()}


def exchange(feed: Feed) -> None:
    """What happens when a block was played."""
    feed.fill(time.monotonic())
    for _ in feed.written():
        pass


def _row(name: str, us: float, anchor_us: float) -> Row:
    in_callback = "callback" in name
    return Row(
        name=name,
        ours=us,
        anchor=anchor_us,
        ratio=us / anchor_us,
        goal=f"≤ {GOAL_US:g} µs" if in_callback else "",
        unit="µs per 10 ms",
        met=us <= GOAL_US if in_callback else None,
    )
