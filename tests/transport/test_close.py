"""close(), hangup() and calls that end by themselves: from any state, from handlers, under cancellation."""

import asyncio

import pytest

from rtc_transport import FileSink, NotConnectedError, RealtimeServer, ToneSource, WebRTCTransport
from rtc_transport.server import Faults
from support.transports import call_of, connected, other_tasks


async def test_close_before_connect_and_twice_after_it(realtime_server: RealtimeServer) -> None:
    transport = WebRTCTransport(base_url=realtime_server.url)
    await transport.close()
    await transport.connect(api_key="test-key")
    await asyncio.gather(transport.close(), transport.close())
    await transport.close()
    assert transport.status == "disconnected"
    assert transport.call_id is None


async def test_a_cancelled_close_goes_on_and_the_next_one_waits_for_it(
    realtime_server: RealtimeServer,
) -> None:
    async with connected(realtime_server) as transport:
        first = asyncio.create_task(transport.close())
        await asyncio.sleep(0)
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        async with asyncio.timeout(2):
            await transport.close()
        assert transport.status == "disconnected"


async def test_close_from_an_asynchronous_handler(realtime_server: RealtimeServer) -> None:
    closed = asyncio.Event()
    async with connected(realtime_server) as transport:

        @transport.on("turn_done")
        async def hang_up(_: object) -> None:
            await transport.close()
            closed.set()

        transport.send_message("Hello!")
        async with asyncio.timeout(10):
            await closed.wait()
        assert transport.status == "disconnected"


async def test_connect_again_from_a_disconnected_handler(realtime_server: RealtimeServer) -> None:
    again = asyncio.Event()
    transport = WebRTCTransport(base_url=realtime_server.url)

    @transport.once("disconnected")
    async def reconnect(_: object) -> None:
        await transport.connect(api_key="test-key")
        again.set()

    await transport.connect(api_key="test-key")
    await transport.close()
    async with asyncio.timeout(10):
        await again.wait()
    assert transport.status == "connected"
    assert len(realtime_server.calls) == 2
    await transport.close()


async def test_a_handler_that_never_ends_is_cancelled(realtime_server: RealtimeServer) -> None:
    transport = WebRTCTransport(base_url=realtime_server.url)
    started = asyncio.Event()

    @transport.on("connected")
    async def forever(_: object) -> None:
        started.set()
        await asyncio.Event().wait()

    await transport.connect(api_key="test-key")
    await started.wait()
    async with asyncio.timeout(2):
        await transport.close()


async def test_a_call_that_the_server_ends_is_told_with_a_reason() -> None:
    async with RealtimeServer(faults=Faults(hang_up_after_seconds=0.3)) as server:
        errors, reasons = list[str](), list[str | None]()
        transport = WebRTCTransport(ToneSource(), base_url=server.url)
        transport.on("error", lambda event: errors.append(event.message))
        transport.on("disconnected", lambda event: reasons.append(event.reason))
        await transport.connect(api_key="test-key")
        await transport.wait_for("disconnected", timeout=5)
        assert errors == ["the connection was lost: the peer closed the control channel"]
        assert reasons == ["the peer closed the control channel"]
        with pytest.raises(NotConnectedError, match="the transport is disconnected: connect"):
            transport.send_message("Hello?")
        await transport.close()
    assert await other_tasks() == set()


async def test_a_channel_that_the_server_closes_ends_the_call() -> None:
    async with RealtimeServer(faults=Faults(close_channel_after_seconds=0.2)) as server:
        transport = WebRTCTransport(base_url=server.url)
        await transport.connect(api_key="test-key")
        change = await transport.wait_for("disconnected", timeout=5)
        assert change.reason == "the peer closed the control channel"
        await transport.close()


async def test_hangup_ends_the_call_at_the_service(realtime_server: RealtimeServer) -> None:
    async with connected(realtime_server) as transport:
        call = call_of(realtime_server, transport)
        await transport.hangup()
        assert transport.status == "disconnected"
        assert call.ended == "hung up over HTTP"


async def test_a_service_that_ends_the_call_before_it_answers_the_hangup_is_no_loss(
    realtime_server: RealtimeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with connected(realtime_server) as transport:
        told = list[object]()
        transport.on("error", lambda event: told.append(event.message))
        transport.on("disconnected", lambda event: told.append(event.reason))
        server_side, lost = call_of(realtime_server, transport), asyncio.Event()
        noticed = transport._on_lost

        async def hangup() -> None:
            server_side.end("hung up over HTTP")
            await lost.wait()

        def on_lost(reason: str) -> None:
            noticed(reason)
            lost.set()

        assert transport._call is not None
        monkeypatch.setattr(transport._call, "hangup", hangup)
        monkeypatch.setattr(transport._call.peer._events, "closed", on_lost)
        async with asyncio.timeout(5):
            await transport.hangup()
        assert told == [None]


async def test_a_cancelled_hangup_ends_the_call_all_the_same(
    realtime_server: RealtimeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with connected(realtime_server) as transport:
        monkeypatch.setattr(transport._call, "hangup", asyncio.Event().wait)  # never answered
        waiting = asyncio.create_task(transport.hangup())
        await asyncio.sleep(0)
        waiting.cancel()
        await transport.wait_for("disconnected", timeout=5)


async def test_a_call_is_hung_up_after_max_duration_seconds(realtime_server: RealtimeServer) -> None:
    transport = WebRTCTransport(base_url=realtime_server.url, max_duration_seconds=0.3)
    for _ in range(2):  # every call has its own time
        await transport.connect(api_key="test-key")
        call, began = call_of(realtime_server, transport), asyncio.get_running_loop().time()
        end = await transport.wait_for("disconnected", timeout=5)
        assert asyncio.get_running_loop().time() - began >= 0.29
        assert end.reason == "the call has lasted for max_duration_seconds=0.3"
        assert call.ended == "hung up over HTTP"
    await transport.close()


async def test_a_call_that_ends_sooner_leaves_no_time_limit_behind(realtime_server: RealtimeServer) -> None:
    async with connected(realtime_server, max_duration_seconds=3600):
        assert "max duration" in {task.get_name() for task in asyncio.all_tasks()}
    assert "max duration" not in {task.get_name() for task in asyncio.all_tasks()}


@pytest.mark.parametrize("seconds", [0, -1, float("nan"), float("inf")])
def test_a_duration_that_is_none_is_refused(seconds: float) -> None:
    with pytest.raises(ValueError, match="max_duration_seconds="):
        WebRTCTransport(max_duration_seconds=seconds)


async def test_a_hangup_that_the_service_refuses_is_reported_and_closes() -> None:
    errors = list[str]()
    async with RealtimeServer() as server:
        transport = WebRTCTransport(base_url=server.url)
        transport.on("error", lambda event: errors.append(event.message))
        await transport.connect(api_key="test-key")
        call_of(server, transport).id = "another"  # the HTTP side still knows it by its first id
        await server._http.aclose()
        await transport.hangup()
        assert transport.status == "disconnected"
    assert len(errors) == 1
    assert errors[0].startswith("the call was not ended at the service: ")


async def test_handles_and_waiters_end_with_the_connection(realtime_server: RealtimeServer) -> None:
    async with connected(realtime_server) as transport:
        handle = transport.request_response({"instructions": "Say a lot."})
        ignored = transport.request_response()
        waiting = asyncio.create_task(transport.wait_for("never"))
        stream = transport.events("never")
        await asyncio.sleep(0)
        await transport.close()
        with pytest.raises(NotConnectedError):
            await handle
        with pytest.raises(NotConnectedError, match="the connection ended"):
            await waiting
        assert [event async for event in stream] == []
        assert ignored.done


async def test_drain_fails_with_the_connection(realtime_server: RealtimeServer) -> None:
    async with connected(realtime_server) as transport:
        for _ in range(40):
            transport.send_audio(bytes(48_000))
        waiting = asyncio.create_task(transport.drain())
        await asyncio.sleep(0)
        await transport.close()
        with pytest.raises(NotConnectedError):
            await waiting
        with pytest.raises(NotConnectedError):
            await transport.drain()


async def test_source_and_sink_serve_two_calls_in_a_row(realtime_server: RealtimeServer, tmp_path) -> None:  # type: ignore[no-untyped-def]  # pytest's
    transport = WebRTCTransport(ToneSource(), FileSink(tmp_path / "out.wav"), base_url=realtime_server.url)
    for _ in range(2):
        await transport.connect(api_key="test-key")
        call = call_of(realtime_server, transport)
        await call.wait_for("input_audio_buffer.speech_started")
        await transport.close()
    assert (tmp_path / "out.wav").stat().st_size > 1_000
