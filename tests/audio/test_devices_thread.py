"""The device thread: the loop never waits for a driver, and what comes too late is undone."""

import asyncio
import gc
import threading
import time
from collections.abc import Callable
from functools import partial

import pytest

from rtc_audio.devices.backend import StreamPort
from rtc_audio.devices.hub import DeviceHub
from rtc_audio.devices.microphone import Microphone
from rtc_audio.devices.thread import MAX_STUCK, DeviceThread
from rtc_audio.devices.types import DeviceInfo, StreamRequest
from rtc_audio.errors import DeviceOpenTimeout
from support.fake_audio import LAPTOP


async def settled(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110 - it is another thread that makes it true
        await asyncio.sleep(0.002)


async def test_work_runs_in_order_on_one_thread_and_its_errors_come_out() -> None:
    thread = DeviceThread()
    names = {await thread.run(lambda: threading.current_thread().name, timeout_seconds=5) for _ in range(3)}
    assert names == {"rtc_audio.devices"}
    with pytest.raises(ZeroDivisionError):
        await thread.run(lambda: 1 / 0, timeout_seconds=5)
    assert await thread.run(lambda: "still there", timeout_seconds=5) == "still there"
    assert thread.run_blocking(lambda: 7, timeout_seconds=5) == 7


async def test_a_driver_that_hangs_keeps_its_thread_and_what_it_returns_late_is_discarded() -> None:
    thread, release = DeviceThread(), threading.Event()
    discarded: list[str] = []

    def open_slowly() -> str:
        release.wait(10)
        return "stream"

    with pytest.raises(TimeoutError):
        await thread.run(open_slowly, timeout_seconds=0.02, discard=discarded.append)
    assert thread.stuck == 1
    assert await thread.run(lambda: "others go on", timeout_seconds=5) == "others go on"
    release.set()
    await settled(lambda: discarded == ["stream"] and thread.stuck == 0)


async def test_cancelled_work_is_discarded_or_never_begun() -> None:
    thread, release, begun = DeviceThread(), threading.Event(), threading.Event()
    discarded: list[str] = []

    def open_slowly() -> str:
        begun.set()
        release.wait(10)
        return "first"

    first = asyncio.create_task(thread.run(open_slowly, timeout_seconds=5, discard=discarded.append))
    second = asyncio.create_task(thread.run(lambda: "second", timeout_seconds=5, discard=discarded.append))
    closed: list[str] = []
    closing = asyncio.create_task(thread.run(lambda: closed.append("closed"), timeout_seconds=5))
    await settled(begun.is_set)
    for task in (first, second, closing):
        task.cancel()
    await asyncio.wait([first, second, closing])
    release.set()
    await settled(lambda: closed == ["closed"])
    assert discarded == ["first"], "closing is done all the same, opening is undone or left out"


async def test_the_result_of_the_moment_of_cancellation_is_discarded() -> None:
    thread = DeviceThread()
    discarded: list[str] = []
    task = asyncio.create_task(thread.run(lambda: "stream", timeout_seconds=5, discard=discarded.append))
    await asyncio.sleep(0)
    thread.run_blocking(lambda: None, timeout_seconds=5)  # the loop stands still; the work behind it is done
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await settled(lambda: discarded == ["stream"])


async def test_threads_that_hang_are_few() -> None:
    thread, release = DeviceThread(), threading.Event()
    for _ in range(MAX_STUCK):
        with pytest.raises(TimeoutError):
            await thread.run(lambda: release.wait(10), timeout_seconds=0.01)
    began = time.monotonic()
    with pytest.raises(TimeoutError):
        await thread.run(lambda: None, timeout_seconds=5)
    assert time.monotonic() - began < 1, "refused at once"
    release.set()
    await settled(lambda: thread.stuck == 0)
    assert await thread.run(lambda: "again", timeout_seconds=5) == "again"


class HangingDriver:
    """A `Backend` that does not answer until it is told to."""

    def __init__(self) -> None:
        self.release = threading.Event()
        self.closed = threading.Event()
        self.active = True
        self.latency_seconds = 0.01

    def devices(self) -> list[DeviceInfo]:
        return list(LAPTOP)

    def look(self) -> list[DeviceInfo]:
        return list(LAPTOP)

    def refresh(self) -> None: ...

    def open(self, request: StreamRequest, port: StreamPort) -> "HangingDriver":
        self.release.wait(5)
        return self

    def close(self) -> None:
        self.closed.set()


def _same(driver: HangingDriver) -> HangingDriver:
    return driver


async def longest_pause(until: asyncio.Task[None]) -> float:
    pauses, before = [0.0], time.perf_counter()
    while not until.done():
        await asyncio.sleep(0.002)
        now = time.perf_counter()
        pauses.append(now - before)
        before = now
    return max(pauses)


async def test_while_a_driver_hangs_the_loop_keeps_its_heartbeat() -> None:
    """The driver would block for 5 s; the best of three rounds counts, for the machine pauses programs as well."""
    pauses = []
    for _ in range(3):
        driver = HangingDriver()
        microphone = Microphone(hub=DeviceHub(partial(_same, driver)), open_timeout_seconds=0.25)
        opening = asyncio.create_task(microphone.start())
        gc.collect()
        pauses.append(await longest_pause(opening))
        with pytest.raises(DeviceOpenTimeout) as caught:
            opening.result()
        assert str(caught.value) == (
            "cannot open the default input device: the driver did not answer within 0.25 s"
        )
        driver.release.set()
        await settled(driver.closed.is_set)  # it opened too late
        if pauses[-1] < 0.020:
            return
    raise AssertionError(f"the loop stood still for {min(pauses):.3f} s")


async def test_closing_does_not_wait_for_a_driver_that_hangs() -> None:
    driver = HangingDriver()
    microphone = Microphone(hub=DeviceHub(lambda: driver), open_timeout_seconds=5)
    opening = asyncio.create_task(microphone.start())
    await asyncio.sleep(0.01)
    began = time.monotonic()
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening
    await microphone.aclose()
    assert time.monotonic() - began < 1
    driver.release.set()
    await settled(driver.closed.is_set)
