"""When the event loop looks after its loudspeaker, which never calls it."""

import numpy as np
import pytest

from rtc_audio.devices.feed import GRACE_SECONDS, RETRY_SECONDS, Feed
from rtc_audio.devices.render import Render
from rtc_audio.devices.types import StreamFormat
from rtc_audio.ports import Pcm

FORMAT = StreamFormat(48000, 2)


def constant(n: int) -> Pcm:
    return np.full((n, 1), 0.1, np.float32)


def drive(gaps_ms: list[float], blocks: int) -> tuple[Render, int]:
    """A driver that asks at these intervals, again and again; the ring's shortages and how often the loop looked."""
    now = 1000.0
    render = Render(FORMAT, lambda: None)
    feed, block = Feed(render, constant, FORMAT.rate_hz), memoryview(bytearray(FORMAT.block_bytes))
    look_at, looks, asks_at = now, 0, now + 0.03
    for index in range(blocks):
        while look_at <= asks_at:
            now = look_at
            feed.fill(now)
            looks, look_at = looks + 1, feed.next_at(now)
        now = asks_at
        render.on_block(block, now, now + 0.02, False)
        asks_at += gaps_ms[index % len(gaps_ms)] / 1000
    return render, looks


def test_the_loop_looks_once_for_each_block_of_a_regular_driver() -> None:
    render, looks = drive([10.0], 1000)
    assert render.shortages == 0
    assert looks < 1020


@pytest.mark.parametrize("gaps_ms", [[0.1, 19.9], [9.0, 11.0], [5.0, 15.0], [0.1, 0.1, 29.8]])
def test_an_irregular_driver_is_served_as_well(gaps_ms: list[float]) -> None:
    render, looks = drive(gaps_ms, 2000)
    assert render.shortages <= 3, "more is kept ahead after each"
    assert looks < 2000 * 10 / (1000 * RETRY_SECONDS) + 2000


def test_a_driver_that_asks_no_more_is_looked_at_now_and_then() -> None:
    render = Render(FORMAT, lambda: None)
    feed = Feed(render, constant, FORMAT.rate_hz)
    assert feed.next_at(1000.0) == pytest.approx(1000.0 + RETRY_SECONDS)
    render.on_block(memoryview(bytearray(FORMAT.block_bytes)), 1000.0, 1000.02, False)
    assert feed.next_at(1000.004) == pytest.approx(1000.01 + GRACE_SECONDS)
    assert feed.next_at(1000.5) == pytest.approx(1000.5 + RETRY_SECONDS)
