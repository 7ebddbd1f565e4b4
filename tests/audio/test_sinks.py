"""Sinks that pull in real time or are written to."""

import asyncio
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from rtc_audio import AudioSink, CallbackSink, NullSink, StreamSink, UnbufferedSink


def wrong(value: Any) -> Any:
    """A value that the type checker would refuse."""
    return value


class Voice:
    """A pull that counts, and wakes the test when enough was pulled."""

    def __init__(self, enough: int = 5) -> None:
        self.pulls: list[int] = []
        self.enough = asyncio.Event()
        self._count = enough

    def __call__(self, n: int) -> NDArray[np.float32]:
        self.pulls.append(n)
        if len(self.pulls) == self._count:
            self.enough.set()
        return np.full((n, 1), len(self.pulls), np.float32)


async def test_null_sink_drains_until_it_is_closed() -> None:
    sink, voice = NullSink(48000, block_ms=5), Voice()
    await sink.start(voice)
    await voice.enough.wait()
    await sink.aclose()
    count = len(voice.pulls)
    await asyncio.sleep(0.03)
    assert len(voice.pulls) == count
    assert set(voice.pulls) == {240}


async def test_callback_sink_gives_blocks_in_order() -> None:
    heard: list[NDArray[np.float32]] = []
    sink, voice = CallbackSink(heard.append, 24000, block_ms=5), Voice()
    await sink.start(voice)
    await voice.enough.wait()
    await sink.aclose()
    assert [float(pcm[0, 0]) for pcm in heard][:4] == [1, 2, 3, 4]
    assert heard[0].shape == (120, 1)


async def test_a_faulty_callback_is_counted_logged_once_and_called_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def broken(pcm: NDArray[np.float32]) -> None:
        raise RuntimeError("mine")

    sink = CallbackSink(broken, delay="none")
    for _ in range(3):
        sink.write(np.zeros((480, 1), np.float32))
    await sink.aclose()
    sink.write(np.zeros((480, 1), np.float32))
    assert sink.faults == 3
    assert [record.message for record in caplog.records] == [
        "the callback of a CallbackSink raised; further faults are only counted"
    ]


async def test_with_delay_none_a_sink_is_written_to_and_does_not_pull() -> None:
    heard: list[NDArray[np.float32]] = []
    sink, voice = CallbackSink(heard.append, delay="none", block_ms=1), Voice()
    await sink.start(voice)
    sink.write(np.zeros((480, 1), np.float32))
    await asyncio.sleep(0.01)
    assert [len(pcm) for pcm in heard] == [480]
    assert voice.pulls == []
    await sink.aclose()


async def test_stream_sink_iterates_until_it_is_closed() -> None:
    sink, voice = StreamSink(24000, block_ms=5), Voice(3)
    heard: list[float] = []

    async def consume() -> None:
        heard.extend([float(pcm[0, 0]) async for pcm in sink])

    consumer = asyncio.create_task(consume())
    await sink.start(voice)
    await voice.enough.wait()
    await sink.aclose()
    await asyncio.wait_for(consumer, 1)
    assert heard == [float(count + 1) for count in range(len(voice.pulls))]


async def test_stream_sink_drops_the_oldest_and_counts() -> None:
    sink = StreamSink(1000, capacity_seconds=0.1, delay="none")
    for count in range(10):
        sink.write(np.full((20, 1), count, np.float32))
    await sink.aclose()
    assert [float(pcm[0, 0]) async for pcm in sink] == [5, 6, 7, 8, 9]
    assert sink.dropped_frames == 100


async def test_cancelling_the_consumer_leaves_the_sink_usable() -> None:
    sink = StreamSink(1000, delay="none")

    async def consume() -> list[float]:
        return [float(pcm[0, 0]) async for pcm in sink]

    first = asyncio.create_task(consume())
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    sink.write(np.ones((20, 1), np.float32))
    await sink.aclose()
    assert await consume() == [1.0]


async def test_a_closed_sink_can_be_started_again() -> None:
    for sink in (NullSink(block_ms=5), CallbackSink(lambda pcm: None, block_ms=5), StreamSink(block_ms=5)):
        for _ in range(2):
            voice = Voice(2)
            await sink.start(voice)
            await voice.enough.wait()
            await sink.aclose()


def test_they_are_sinks() -> None:
    assert isinstance(NullSink(), AudioSink)
    assert not isinstance(NullSink(), UnbufferedSink)
    assert isinstance(CallbackSink(print, delay="none"), UnbufferedSink)
    assert isinstance(StreamSink(delay="none"), UnbufferedSink)


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: NullSink(0), "rate_hz=0: need an integer from 1 to 768000"),
        (lambda: StreamSink(delay=wrong("low")), "delay='low': need 'adaptive' or 'none'"),
        (lambda: CallbackSink(print, block_ms=0), "block_ms=0: need at least one frame"),
    ],
)
def test_what_they_refuse(make: Any, text: str) -> None:
    with pytest.raises(ValueError) as caught:
        make()
    assert str(caught.value) == text
