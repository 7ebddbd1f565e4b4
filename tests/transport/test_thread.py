"""A transport in a thread of its own: synchronous programs, and loops that stand still."""

import asyncio
import threading
import time
from collections.abc import Iterator
from concurrent.futures import CancelledError, Future
from contextlib import contextmanager

import pytest

from rtc_transport import NotConnectedError, RealtimeServer, ToneSource, TransportThread, WebRTCTransport


@contextmanager
def server_elsewhere() -> Iterator[RealtimeServer]:
    """The embedded server in another thread, as it would run in another process."""
    ready: Future[tuple[RealtimeServer, asyncio.AbstractEventLoop, asyncio.Event]] = Future()

    async def serve() -> None:
        async with RealtimeServer() as server:
            over = asyncio.Event()
            ready.set_result((server, asyncio.get_running_loop(), over))
            await over.wait()

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    server, loop, over = ready.result()
    try:
        yield server
    finally:
        loop.call_soon_threadsafe(over.set)
        thread.join()


def test_a_synchronous_program_has_a_conversation_and_another() -> None:
    with server_elsewhere() as server:
        transport = WebRTCTransport(base_url=server.url)
        for _ in range(2):
            with TransportThread(transport) as thread:
                thread.call(transport.connect, api_key="test-key")
                thread.call(transport.send_message, "Hello!")
                turn = thread.call(transport.wait_for, "turn_done", timeout=10)
                assert turn.status == "completed"
                handle = thread.call(transport.request_response)  # awaitable, but no coroutine
                assert thread.call(handle.result, timeout=10).status == "completed"
            assert transport.status == "disconnected"
            assert "rtc-transport" not in {each.name for each in threading.enumerate()}


def test_events_are_iterated_until_the_connection_ends() -> None:
    with server_elsewhere() as server, TransportThread(WebRTCTransport(base_url=server.url)) as thread:
        thread.call(thread.transport.connect, api_key="test-key")
        events = thread.events("turn_started", "turn_done")
        thread.call(thread.transport.send_message, "Hello!")
        seen = []
        for event in events:
            seen.append(event.type)
            if event.type == "turn_done":
                thread.call(thread.transport.close)
        assert seen == ["turn_started", "turn_done"]


async def test_the_sound_goes_on_while_the_loop_of_the_program_stands_still() -> None:
    with server_elsewhere() as server:
        transport, sent_at = WebRTCTransport(ToneSource(), base_url=server.url), list[float]()
        transport.on("input_audio", lambda _: sent_at.append(time.monotonic()))
        with TransportThread(transport) as thread:
            await thread.acall(transport.connect, api_key="test-key")
            await thread.acall(transport.wait_for, "input_audio", timeout=5)
            stood_still = time.monotonic()
            time.sleep(1)  # noqa: ASYNC251 - this is what it is about
            went_on = time.monotonic()
    during = [at for at in sent_at if stood_still < at < went_on]
    assert len(during) > 25  # of 50; in one loop with the program it would be none


def test_it_raises_what_the_transport_raises() -> None:
    transport = WebRTCTransport()
    with TransportThread(transport) as thread, pytest.raises(NotConnectedError):
        thread.call(transport.send_message, "Hello!")


async def test_a_cancelled_acall_is_cancelled_over_there() -> None:
    over = threading.Event()

    async def lasting() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            over.set()

    with TransportThread(WebRTCTransport()) as thread:
        waiting = asyncio.create_task(thread.acall(lasting))
        await thread.acall(asyncio.sleep, 0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert await asyncio.to_thread(over.wait, 5)


def test_a_handler_that_would_wait_for_itself_is_refused() -> None:
    transport = WebRTCTransport()
    with TransportThread(transport) as thread:

        def call_back() -> None:
            thread.call(transport.mute, True)

        for own in (call_back, thread.close):
            with pytest.raises(RuntimeError, match="this is the thread of the transport"):
                thread.call(own)


def test_the_end_cancels_what_still_waits() -> None:
    with TransportThread(WebRTCTransport()) as thread:
        begun, outcome = threading.Event(), list[BaseException]()

        async def lasting() -> None:
            begun.set()
            await asyncio.Event().wait()

        def wait() -> None:
            try:
                thread.call(lasting)
            except CancelledError as error:
                outcome.append(error)

        waiting = threading.Thread(target=wait)
        waiting.start()
        assert begun.wait(5)
    waiting.join(5)
    assert len(outcome) == 1


def test_outside_of_its_block_nothing_can_be_called() -> None:
    thread = TransportThread(WebRTCTransport())
    with pytest.raises(RuntimeError, match="use it in a with block"):
        thread.call(thread.transport.mute, True)
    for _ in range(2):
        with thread:
            thread.call(thread.transport.mute, True)
            with pytest.raises(RuntimeError, match="runs already"), thread:
                pass
        thread.close()
    assert thread.transport.muted
