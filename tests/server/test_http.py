"""What the server answers over HTTP to offers it cannot use, sessions it refuses, and keys it does not know."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from rtc_signaling import RequestRejected, SdpClient, SignalingError, mint_client_secret
from rtc_transport.server import RealtimeServer, ScriptError
from support.wire_client import calling, nothing_left_running, offering


@pytest_asyncio.fixture
async def server() -> AsyncIterator[RealtimeServer]:
    async with RealtimeServer() as server:
        yield server
    await nothing_left_running()


async def refusal(
    server: RealtimeServer, offer: str, session: dict[str, object] | None = None
) -> RequestRejected:
    async with SdpClient(base_url=server.url) as http:
        with pytest.raises(RequestRejected) as caught:
            await http.exchange(offer, key="sk", session=session or {"type": "realtime", "model": "m"})
    assert not server.calls
    return caught.value


@pytest.mark.parametrize(
    "offer", ["v=0\r\n", "v=0\r\nm=audio x\r\n", "v=0\r\nm=audio 9 UDP 96\r\nm=application"]
)
async def test_an_offer_that_is_none_is_refused(server: RealtimeServer, offer: str) -> None:
    error = await refusal(server, offer)
    assert (error.status, error.code) == (400, "invalid_offer")


@pytest.mark.parametrize(
    ("section", "message"),
    [("audio", "The offer has no Opus audio."), ("application", "The offer has no data channel.")],
)
async def test_an_offer_without_sound_or_channel_is_refused(
    server: RealtimeServer, section: str, message: str
) -> None:
    def without(sdp: str) -> str:
        head, *sections = sdp.split("m=")
        return "m=".join([head, *(s for s in sections if not s.startswith(section))])

    async with offering(server) as client:
        error = await refusal(server, without(await client.peer.offer()))
    assert (error.status, error.code, error.message) == (400, "invalid_offer", message)


async def test_a_session_that_cannot_be_is_refused_with_its_field(server: RealtimeServer) -> None:
    async with offering(server) as client:
        session: dict[str, object] = {"type": "realtime", "model": "m", "audio": {"output": {"speed": 9}}}
        error = await refusal(server, await client.peer.offer(), session)
    assert (error.status, error.code, error.param) == (400, "invalid_value", "session.audio.output.speed")


async def test_a_client_secret_carries_its_session_into_the_call(server: RealtimeServer) -> None:
    session = {"type": "realtime", "model": "gpt-realtime-2", "instructions": "Be brief."}
    secret = await mint_client_secret("sk", session=session, base_url=server.url)
    async with offering(server) as client:
        await client.peer.accept((await client.post(key=secret.value)).sdp)
        created = (await client.wait_for("session.created"))["session"]
    assert (created["model"], created["instructions"]) == ("gpt-realtime-2", "Be brief.")


async def test_only_known_keys_are_let_in() -> None:
    async with RealtimeServer(keys=["sk-right"]) as server, offering(server) as client:
        with pytest.raises(RequestRejected) as caught:
            await client.post(key="sk-wrong")
    assert caught.value.status == 401


async def test_no_more_calls_than_allowed() -> None:
    async with RealtimeServer(max_calls=1) as server, calling(server), offering(server) as second:
        with pytest.raises(RequestRejected) as caught:
            await second.post()
    assert (caught.value.status, caught.value.code) == (429, "rate_limit_exceeded")


async def test_a_client_that_gives_up_leaves_no_call(server: RealtimeServer) -> None:
    async with offering(server) as client:
        offer = await client.peer.offer()
        async with SdpClient(base_url=server.url) as http:
            exchange = asyncio.ensure_future(http.exchange(offer, key="sk", session={"model": "m"}))
            await asyncio.sleep(0)
            exchange.cancel()
            await asyncio.gather(exchange, return_exceptions=True)


async def test_a_taken_port_is_one_clear_error(server: RealtimeServer) -> None:
    port = int(server.url.split(":")[2].partition("/")[0])
    with pytest.raises(
        SignalingError, match=rf"cannot listen on 127\.0\.0\.1:{port}: Address already in use"
    ):
        await RealtimeServer(port=port).start()


def test_bad_options_are_refused_before_anything_starts() -> None:
    with pytest.raises(ValueError, match="must be positive"):
        RealtimeServer(max_session_seconds=0)
    with pytest.raises(ScriptError, match=r"^missing\.json: cannot be read: no such file or directory$"):
        RealtimeServer(reply="missing.json")


async def test_the_fixture_of_the_pytest_plugin_is_a_running_server(realtime_server: RealtimeServer) -> None:
    assert realtime_server.calls_url.startswith("http://127.0.0.1:")
    async with calling(realtime_server) as client:
        client.send("session.update", session={"type": "realtime"})
        await client.wait_for("session.updated")


def test_the_plugin_costs_nothing_at_the_start_of_pytest() -> None:
    code = (
        "import sys, rtc_transport.pytest_plugin; "
        "print([name for name in ('aiortc', 'av', 'aiohttp', 'numpy', 'pydantic') if name in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=15)
    assert run.stdout.strip() == "[]"
