"""The emitter: order, once/off, isolation of faults, asynchronous handlers, iterators."""

import asyncio
import functools
import gc
from typing import Any

import pytest

from rtc_transport.emitter import HANDLER_QUEUE, Emitter


def test_handlers_run_in_the_order_they_were_added_and_emit_says_whether_anybody_listened() -> None:
    emitter, seen = Emitter(), list[str]()
    assert emitter.on("a", lambda _: seen.append("first")) is emitter
    emitter.once("a", lambda _: seen.append("once")).on("a", lambda _: seen.append("last"))
    assert emitter.emit("a", 1) is True
    assert emitter.emit("a", 2) is True
    assert emitter.emit("b", 3) is False
    assert seen == ["first", "once", "last", "first", "last"]


def test_on_and_once_alone_are_decorators() -> None:
    emitter, seen = Emitter(), list[int]()

    @emitter.on("a")
    def always(payload: int) -> None:
        seen.append(payload)

    @emitter.once("a")
    def only_once(payload: int) -> None:
        seen.append(-payload)

    emitter.emit("a", 1)
    emitter.emit("a", 2)
    assert seen == [1, -1, 2]
    emitter.off("a", always)
    assert emitter.emit("a", 3) is False
    assert callable(only_once)


def test_off_removes_what_once_added() -> None:
    emitter, seen = Emitter(), list[Any]()
    emitter.once("a", seen.append).off("a", seen.append).off("a", seen.append).off("unknown", seen.append)
    assert emitter.emit("a", 1) is False
    assert seen == []


def test_a_handler_may_remove_itself_and_the_next_one_while_it_runs() -> None:
    emitter, seen = Emitter(), list[str]()

    def second(_: object) -> None:
        seen.append("second")

    def first(_: object) -> None:
        seen.append("first")
        emitter.off("a", first).off("a", second).on("a", lambda _: seen.append("new"))

    emitter.on("a", first).on("a", second)
    emitter.emit("a", None)
    assert seen == ["first"]
    emitter.emit("a", None)
    assert seen == ["first", "new"]


def test_the_same_handler_added_twice_runs_twice_and_off_takes_one_away() -> None:
    emitter, seen = Emitter(), list[int]()
    emitter.on("a", seen.append).on("a", seen.append).off("a", seen.append)
    emitter.emit("a", 1)
    assert seen == [1]


def test_a_faulty_handler_is_reported_and_the_others_still_run(caplog: pytest.LogCaptureFixture) -> None:
    faults, seen = list[tuple[str, Exception]](), list[int]()
    emitter = Emitter(on_fault=lambda name, error: faults.append((name, error)))

    def faulty(_: object) -> None:
        raise ValueError("no good")

    emitter.on("a", faulty).on("a", seen.append)
    emitter.emit("a", 1)
    assert seen == [1]
    assert [(name, str(error)) for name, error in faults] == [("a", "no good")]
    assert "a handler of 'a' raised" in caplog.text


def test_a_handler_that_is_not_callable_is_refused() -> None:
    with pytest.raises(TypeError, match="the handler of 'a' is not callable: 3"):
        Emitter().on("a", 3)  # type: ignore[call-overload]  # the wrong thing is the test


async def test_asynchronous_calls_of_one_handler_keep_their_order_and_hold_nobody_up() -> None:
    emitter, seen = Emitter(), list[str]()
    gate, done = asyncio.Event(), asyncio.Event()

    async def slow(payload: int) -> None:
        await gate.wait()
        seen.append(f"slow {payload}")
        if payload == 2:
            done.set()

    emitter.on("a", slow).on("a", lambda payload: seen.append(f"fast {payload}"))
    emitter.emit("a", 1)
    emitter.emit("a", 2)
    gate.set()
    await done.wait()
    assert seen == ["fast 1", "fast 2", "slow 1", "slow 2"]
    await emitter.settle(0)


async def test_a_lambda_that_gives_a_coroutine_is_an_asynchronous_handler() -> None:
    emitter, seen = Emitter(), list[str]()

    async def speak(payload: str, pause: asyncio.Event) -> None:
        await pause.wait()
        seen.append(payload)

    pause = asyncio.Event()
    emitter.on("a", lambda payload: speak(payload, pause))
    emitter.on("a", functools.partial(speak, pause=pause)).once("b", lambda _: speak("last", pause))
    emitter.emit("a", "hello")
    emitter.emit("b", None)
    assert seen == []
    pause.set()
    await emitter.settle(1)
    assert seen == ["hello", "hello", "last"]


async def test_calls_that_are_never_made_leave_no_warning() -> None:
    emitter = Emitter()

    async def never(_: object) -> None:
        await asyncio.Event().wait()

    emitter.on("a", never).on("b", never).on("c", never)
    for event in "abc":
        for number in range(300 if event == "a" else 2):  # more than the queue holds
            emitter.emit(event, number)
    await asyncio.sleep(0)
    emitter.off("b", never)
    emitter.emit("c", 3)
    await emitter.settle(0)
    del emitter
    gc.collect()  # a coroutine that was never awaited warns here


async def test_an_asynchronous_fault_is_reported_and_the_next_call_runs() -> None:
    faults, seen, done = list[str](), list[int](), asyncio.Event()
    emitter = Emitter(on_fault=lambda name, error: faults.append(f"{name}: {error}"))

    async def handler(payload: int) -> None:
        if payload == 1:
            raise ValueError("no good")
        seen.append(payload)
        done.set()

    emitter.on("a", handler)
    emitter.emit("a", 1)
    emitter.emit("a", 2)
    await done.wait()
    assert (faults, seen) == (["a: no good"], [2])
    await emitter.settle(0)


async def test_a_slow_asynchronous_handler_loses_its_oldest_calls_and_they_are_counted() -> None:
    emitter, seen, gate, done = Emitter(), list[int](), asyncio.Event(), asyncio.Event()

    async def handler(payload: int) -> None:
        await gate.wait()
        seen.append(payload)
        if payload == HANDLER_QUEUE + 9:
            done.set()

    emitter.on("a", handler)
    for number in range(HANDLER_QUEUE + 10):
        emitter.emit("a", number)
    assert emitter.dropped["a"] == 10
    gate.set()
    await done.wait()
    assert seen == list(range(10, HANDLER_QUEUE + 10))
    await emitter.settle(0)


async def test_settling_waits_for_handlers_then_cancels_them_and_leaves_no_task() -> None:
    emitter, started, cancelled = Emitter(), asyncio.Event(), list[bool]()

    async def handler(_: object) -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(True)
            raise

    async def quick(_: object) -> None:
        await asyncio.sleep(0)
        finished.append(True)

    finished = list[bool]()
    emitter.once("a", handler).on("a", quick)  # a registration may be gone when its handler runs
    emitter.emit("a", None)
    await started.wait()
    await emitter.settle(0.05)
    assert (cancelled, finished) == ([True], [True])
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_settling_from_inside_an_asynchronous_handler_does_not_wait_for_itself() -> None:
    emitter, done = Emitter(), asyncio.Event()

    async def handler(_: object) -> None:
        await emitter.settle(0)
        done.set()

    emitter.on("a", handler)
    emitter.emit("a", None)
    async with asyncio.timeout(2):
        await done.wait()


async def test_an_iterator_sees_the_named_events_and_ends() -> None:
    emitter = Emitter()
    stream = emitter.events("a", "b")
    assert emitter.emit("a", 1) is True
    assert emitter.emit("c", 2) is False
    emitter.emit("b", 3)
    emitter.end_iterators()
    assert emitter.emit("a", 4) is False
    assert [payload async for payload in stream] == [1, 3]


async def test_an_iterator_over_everything_leaves_the_star_out() -> None:
    emitter = Emitter()
    stream = emitter.events()
    emitter.emit("*", "raw")
    emitter.emit("a", "typed")
    emitter.end_iterators()
    assert [payload async for payload in stream] == ["typed"]


async def test_an_iterator_drops_its_oldest_and_counts() -> None:
    emitter = Emitter()
    async with emitter.events("a", limit=3) as stream:
        for number in range(5):
            emitter.emit("a", number)
        assert stream.dropped == 2
        assert [await anext(stream) for _ in range(3)] == [2, 3, 4]
    assert emitter.has_listeners("a") is False


async def test_cancelling_the_wait_for_the_next_payload_loses_none() -> None:
    emitter = Emitter()
    stream = emitter.events("a")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await anext(stream)
    emitter.emit("a", 1)
    assert await anext(stream) == 1
