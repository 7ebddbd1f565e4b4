"""The life of a `SignalingServer`: its address, its start and its end."""

import asyncio
import socket
import time

import aiohttp
import pytest
from aiohttp import web

from rtc_signaling import (
    SdpClient,
    SignalingError,
    SignalingServer,
    create_app,
)
from support.raw_http import raw_server
from support.signaling_calls import (
    CALLS,
    KEY,
    OFFER,
    Calls,
    port_of,
)


@pytest.mark.parametrize("stubborn", [False, True])
async def test_closing_does_not_wait_for_requests_under_way(calls: Calls, stubborn: bool) -> None:
    arrived, released = asyncio.Event(), asyncio.Event()

    async def hang(request: web.Request) -> None:
        arrived.set()
        while not released.is_set():
            try:
                await released.wait()
            except asyncio.CancelledError:
                if not stubborn:
                    raise

    async with aiohttp.ClientSession() as http:
        async with SignalingServer(create_app(calls, intercept=hang)) as server:
            _, idle = await asyncio.open_connection("127.0.0.1", port_of(server.url))
            hanging = asyncio.ensure_future(http.post(server.url + CALLS))
            await arrived.wait()
            started = time.monotonic()
        assert time.monotonic() - started < 2
        with pytest.raises(aiohttp.ClientError):
            await hanging
    idle.close()
    released.set()


async def test_closing_twice_and_cancelled_is_harmless(calls: Calls) -> None:
    server = SignalingServer(create_app(calls))
    await server.start()
    url = server.url
    closing = asyncio.create_task(server.aclose())
    await asyncio.sleep(0)
    closing.cancel()
    await asyncio.gather(closing, server.aclose(), server.aclose(), return_exceptions=True)
    await server.aclose()
    with pytest.raises(SignalingError, match="cannot connect to"):
        await SdpClient(base_url=url).exchange(OFFER, key=KEY, session={"model": "m"})
    with pytest.raises(SignalingError, match="the server is not running"):
        _ = server.url
    with pytest.raises(SignalingError, match="the server is closed"):
        await server.start()


async def test_closing_is_bounded_even_if_the_application_is_not(
    calls: Calls, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def forever(app: web.Application) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr("rtc_signaling.server._CLOSE_SECONDS", 0.05)
    app = create_app(calls)
    app.on_cleanup.append(forever)
    async with SignalingServer(app):
        pass
    assert "did not close in time" in caplog.text


async def test_cancelling_a_start_leaves_nothing_open(calls: Calls) -> None:
    server = SignalingServer(create_app(calls))
    starting = asyncio.create_task(server.start())
    await asyncio.sleep(0)
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    with pytest.raises(SignalingError, match="the server is not running"):
        _ = server.url


async def test_an_unknown_host_is_named(calls: Calls, monkeypatch: pytest.MonkeyPatch) -> None:
    async def no_such_name(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", no_such_name)
    with pytest.raises(SignalingError) as caught:
        await SignalingServer(create_app(calls), host="nowhere.example", port=8000).start()
    assert str(caught.value) == "cannot listen on nowhere.example:8000: Name or service not known"


async def test_a_server_that_never_started_can_be_closed(calls: Calls) -> None:
    server = SignalingServer(create_app(calls))
    with pytest.raises(SignalingError, match="the server is not running"):
        _ = server.url
    await server.aclose()


async def test_a_taken_port_is_named(calls: Calls) -> None:
    async with raw_server(b"") as other:
        port = port_of(other.url)
        with pytest.raises(SignalingError) as caught:
            await SignalingServer(create_app(calls), port=port).start()
    assert str(caught.value) == f"cannot listen on 127.0.0.1:{port}: Address already in use"


@pytest.mark.parametrize(
    ("host", "port", "text"),
    [
        ("127.0.0.1", 70_000, "cannot listen on 127.0.0.1:70000: "),
        ("192.0.2.1", 0, "cannot listen on 192.0.2.1:0: Cannot assign requested address"),
    ],
)
async def test_an_address_that_cannot_be_had_is_named(calls: Calls, host: str, port: int, text: str) -> None:
    with pytest.raises(SignalingError) as caught:
        await SignalingServer(create_app(calls), host=host, port=port).start()
    assert str(caught.value).startswith(text)


@pytest.mark.parametrize(
    ("host", "shown"), [("127.0.0.1", "127.0.0.1"), ("0.0.0.0", "127.0.0.1"), ("::1", "[::1]")]
)
async def test_the_url_can_be_called_whatever_the_host(calls: Calls, host: str, shown: str) -> None:
    server = SignalingServer(create_app(calls), host=host)
    try:
        await server.start()
    except SignalingError:
        pytest.skip(f"this machine has no {host}")
    async with SdpClient(base_url=server.url) as client:
        assert server.url.startswith(f"http://{shown}:")
        assert (await client.exchange(OFFER, key=KEY, session={"model": "m"})).call_id == "rtc_1"
    await server.aclose()
