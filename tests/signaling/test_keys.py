import asyncio
import json
from collections.abc import AsyncIterator

import pytest

from rtc_signaling import (
    EphemeralKeyProvider,
    InvalidAnswer,
    InvalidUrl,
    KeySource,
    KeyUnavailable,
    RequestRejected,
    SignalingTimeout,
    mint_client_secret,
    resolve_key,
)
from support.raw_http import RawServer, http_response, raw_server, shown_by

KEY = "sk-proj-hunter2hunter2"


def minted(value: str, expires_at: float = 1_000) -> bytes:
    body = {"value": value, "expires_at": expires_at, "session": {"type": "realtime", "model": "m"}}
    return http_response(200, json.dumps(body))


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def silent() -> AsyncIterator[RawServer]:
    """A server that takes a request and never answers."""
    async with raw_server(b"", hold=True) as server:
        yield server


async def test_minting_says_what_is_wanted() -> None:
    async with raw_server(minted("ek_1")) as server:
        secret = await mint_client_secret(
            KEY,
            session={"model": "m", "instructions": "é"},
            expires_after_seconds=60,
            base_url=server.url,
            headers={"X-Org": "o"},
        )
    assert (secret.value, secret.expires_at, secret.session) == (
        "ek_1",
        1_000.0,
        {"type": "realtime", "model": "m"},
    )
    assert server.head.startswith("POST /v1/realtime/client_secrets HTTP/1.1\r\n")
    assert f"\r\nAuthorization: Bearer {KEY}\r\n" in server.head
    assert "\r\nContent-Type: application/json\r\n" in server.head
    assert "\r\nX-Org: o\r\n" in server.head
    assert json.loads(server.body) == {
        "expires_after": {"anchor": "created_at", "seconds": 60},
        "session": {"type": "realtime", "model": "m", "instructions": "é"},
    }


async def test_what_is_not_given_is_left_to_the_service() -> None:
    async with raw_server(minted("ek_1")) as server:
        await mint_client_secret(lambda: KEY, base_url=server.url)
    assert json.loads(server.body) == {}


@pytest.mark.parametrize("seconds", [9, 7201, 0, -1, True, 60.5])
async def test_a_life_time_out_of_range_is_refused_before_anything_is_sent(seconds: int) -> None:
    with pytest.raises(
        ValueError, match=r"expires_after_seconds is .*, not (within 10 to 7200|a whole number)"
    ):
        await mint_client_secret(KEY, expires_after_seconds=seconds)
    with pytest.raises(ValueError, match="expires_after_seconds"):
        EphemeralKeyProvider(KEY, expires_after_seconds=seconds)


@pytest.mark.parametrize("seconds", [10, 7200])
async def test_the_ends_of_the_range_are_fine(seconds: int) -> None:
    async with raw_server(minted("ek_1")) as server:
        await mint_client_secret(KEY, expires_after_seconds=seconds, base_url=server.url)
    assert json.loads(server.body)["expires_after"]["seconds"] == seconds


async def test_minting_fails_with_the_service_s_words_and_without_the_key() -> None:
    echo = http_response(401, f'{{"error": {{"message": "Incorrect key {KEY}", "code": "invalid_api_key"}}}}')
    async with raw_server(echo) as server:
        with pytest.raises(RequestRejected, match=r"401 Unauthorized: Incorrect key \*\*\*") as caught:
            await mint_client_secret(KEY, base_url=server.url)
    assert "hunter2" not in shown_by(caught.value)


async def test_an_answer_that_is_no_secret_is_refused() -> None:
    async with raw_server(http_response(200, "<html>")) as server:
        with pytest.raises(InvalidAnswer, match="answered 200 with HTML instead of a client secret"):
            await mint_client_secret(KEY, base_url=server.url)


async def test_the_time_limit_includes_the_key_source() -> None:
    async def forever() -> str:
        await asyncio.Event().wait()
        return KEY

    with pytest.raises(SignalingTimeout, match=r"minting a client secret at .* took longer than 0.05 s"):
        await mint_client_secret(forever, timeout_seconds=0.05)


async def test_a_silent_service_is_left_in_time(silent: RawServer) -> None:
    with pytest.raises(SignalingTimeout) as caught:
        await mint_client_secret(KEY, base_url=silent.url, timeout_seconds=0.5)
    await silent.gone.wait()
    assert "hunter2" not in shown_by(caught.value)


async def test_wrong_urls_and_keys_are_refused() -> None:
    with pytest.raises(InvalidUrl, match="clear text"):
        await mint_client_secret(KEY, base_url="http://api.openai.com/v1")
    with pytest.raises(KeyUnavailable, match="the API key is empty"):
        await mint_client_secret("")


async def test_a_provider_mints_once_until_the_margin(clock: Clock) -> None:
    async with raw_server(minted("ek_1", 600), minted("ek_2", 1200)) as server:
        provider = EphemeralKeyProvider(KEY, margin_seconds=30, now=clock, base_url=server.url)
        assert [await provider(), await provider()] == ["ek_1", "ek_1"]
        clock.now = 569.9
        assert await provider() == "ek_1"
        clock.now = 570.0
        assert [await provider(), await provider()] == ["ek_2", "ek_2"]
    assert len(server.requests) == 2


async def test_a_provider_is_a_key_source(clock: Clock) -> None:
    async with raw_server(minted("ek_1")) as server:
        source: KeySource = EphemeralKeyProvider(KEY, now=clock, base_url=server.url)
        assert await resolve_key(source) == "ek_1"


async def test_callers_at_once_share_one_request(clock: Clock) -> None:
    async with raw_server(minted("ek_1")) as server:
        provider = EphemeralKeyProvider(KEY, now=clock, base_url=server.url)
        assert await asyncio.gather(*(provider() for _ in range(10))) == ["ek_1"] * 10
    assert len(server.requests) == 1


async def test_callers_at_once_share_a_failure_and_the_next_tries_again(clock: Clock) -> None:
    async with raw_server(http_response(500), minted("ek_1")) as server:
        provider = EphemeralKeyProvider(KEY, now=clock, base_url=server.url)
        failures = await asyncio.gather(*(provider() for _ in range(3)), return_exceptions=True)
        assert [type(failure) for failure in failures] == [RequestRejected] * 3
        assert len(server.requests) == 1
        assert await provider() == "ek_1"


async def test_cancelling_one_caller_leaves_the_request_to_the_others(clock: Clock) -> None:
    asked, go = asyncio.Event(), asyncio.Event()

    async def api_key() -> str:
        asked.set()
        await go.wait()
        return KEY

    async with raw_server(minted("ek_1")) as server:
        provider = EphemeralKeyProvider(api_key, now=clock, base_url=server.url)
        first, second = asyncio.create_task(provider()), asyncio.create_task(provider())
        await asked.wait()
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        go.set()
        assert await second == "ek_1"
    assert len(server.requests) == 1


async def test_cancelling_the_last_caller_aborts_the_request(silent: RawServer) -> None:
    provider = EphemeralKeyProvider(KEY, base_url=silent.url)
    callers = [asyncio.create_task(provider()) for _ in range(2)]
    await silent.arrived.wait()
    for caller in callers:
        caller.cancel()
    await asyncio.wait(callers)
    await silent.gone.wait()
    assert not [task for task in asyncio.all_tasks() if "_mint" in repr(task)]


async def test_a_caller_after_an_abort_starts_anew(clock: Clock) -> None:
    asked = asyncio.Event()
    answers = iter([asyncio.Event().wait, None])

    async def api_key() -> str:
        asked.set()
        wait = next(answers)
        if wait is not None:
            await wait()
        return KEY

    async with raw_server(minted("ek_1")) as server:
        provider = EphemeralKeyProvider(api_key, now=clock, base_url=server.url)
        aborted = asyncio.create_task(provider())
        await asked.wait()
        aborted.cancel()
        later = asyncio.create_task(provider())
        assert await later == "ek_1"
        assert aborted.cancelled()


async def test_a_provider_shows_no_key(clock: Clock) -> None:
    async with raw_server(minted("ek_hunter2hunter2")) as server:
        provider = EphemeralKeyProvider(KEY, now=clock, base_url=server.url)
        assert "hunter2" not in repr(provider)
        await provider()
        assert "hunter2" not in repr(provider)


def test_a_provider_checks_its_options_at_once() -> None:
    with pytest.raises(ValueError, match="margin_seconds is -1, less than 0"):
        EphemeralKeyProvider(KEY, margin_seconds=-1)
    with pytest.raises(ValueError, match="in the value of header X-Y"):
        EphemeralKeyProvider(KEY, headers={"X-Y": "a\nb"})
