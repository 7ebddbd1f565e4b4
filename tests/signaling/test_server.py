"""The routes of the server side: calls, keys, secrets, CORS, refusals and faults on demand."""

import asyncio
import logging
import time

import aiohttp
import pytest
from aiohttp import web

from rtc_signaling import (
    CallRejected,
    RequestRejected,
    SdpClient,
    SignalingServer,
    create_app,
    mint_client_secret,
)
from support.signaling_calls import (
    ANSWER,
    BEARER,
    CALLS,
    KEY,
    OFFER,
    SDP,
    SECRETS,
    Calls,
    error_of,
    port_of,
    serving,
)


async def test_a_raw_offer_opens_a_call(calls: Calls, served: tuple[str, aiohttp.ClientSession]) -> None:
    url, http = served
    async with http.post(url + CALLS, data=OFFER, headers=SDP) as response:
        assert response.status == 201
        assert response.content_type == "application/sdp"
        assert response.headers["Location"] == "/v1/realtime/calls/rtc_1"
        assert await response.text() == ANSWER
    assert calls.asked == [(OFFER, None, False)]


async def test_our_client_gets_through_in_both_forms(calls: Calls) -> None:
    async with (
        SignalingServer(create_app(calls, keys=[KEY])) as server,
        SdpClient(base_url=server.url) as client,
    ):
        answer = await client.exchange(OFFER, key=KEY, session={"model": "m", "tools": [], "voice": None})
        secret = await mint_client_secret(KEY, session={"model": "bound"}, base_url=server.url)
        await client.exchange(OFFER, key=secret.value, session={"model": "ignored"})
        assert answer.call_id == "rtc_1"
        await client.hangup("rtc_1", key=KEY)
        with pytest.raises(RequestRejected, match="404 Not Found: There is no call of this id"):
            await client.hangup("rtc_1", key=KEY)
    assert calls.asked == [
        (OFFER, {"type": "realtime", "model": "m", "tools": [], "voice": None}, False),
        (OFFER, {"type": "realtime", "model": "bound"}, True),
    ]


@pytest.mark.parametrize("filename", [None, "offer.sdp"])
async def test_form_parts_may_come_as_text_or_as_files(
    calls: Calls, served: tuple[str, aiohttp.ClientSession], filename: str | None
) -> None:
    url, http = served
    form = aiohttp.FormData()
    form.add_field("sdp", OFFER, filename=filename, content_type="application/sdp")
    form.add_field("session", '{"type": "transcription"}', content_type="text/plain")
    async with http.post(url + CALLS, data=form, headers=BEARER) as response:
        assert response.status == 201
    assert calls.asked == [(OFFER, {"type": "transcription"}, False)]


async def test_a_changed_session_does_not_change_what_the_secret_is_bound_to(calls: Calls) -> None:
    async with SignalingServer(create_app(calls)) as server, SdpClient(base_url=server.url) as client:
        secret = await mint_client_secret(KEY, session={"audio": {"output": {}}}, base_url=server.url)
        for _ in range(2):
            await client.exchange(OFFER, key=secret.value, session={})
            (_, session, _) = calls.asked[-1]
            assert session == {"type": "realtime", "audio": {"output": {}}}
            session["audio"] = None


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Basic abc"}])
@pytest.mark.parametrize("path", [CALLS, SECRETS, CALLS + "/rtc_1/hangup"])
async def test_without_a_key_there_is_401_everywhere(
    served: tuple[str, aiohttp.ClientSession], path: str, headers: dict[str, str]
) -> None:
    url, http = served
    async with http.post(url + path, headers=headers) as response:
        assert response.status == 401
        assert (await error_of(response))["code"] == "missing_api_key"


async def test_expired_secrets_are_refused_even_where_any_key_passes(calls: Calls) -> None:
    now = 1_000.0
    app = create_app(calls, now=lambda: now)
    async with SignalingServer(app) as server, SdpClient(base_url=server.url) as client:
        secret = await mint_client_secret("whatever", expires_after_seconds=10, base_url=server.url)
        assert secret.expires_at == 1_010
        await client.exchange(OFFER, key=secret.value, session={})
        await client.exchange(OFFER, key="ek_somebody-elses", session={})
        now = 1_010
        with pytest.raises(RequestRejected, match="The client secret has expired") as caught:
            await client.exchange(OFFER, key=secret.value, session={})
    assert caught.value.code == "expired_client_secret"


async def test_a_client_secret_cannot_mint_another(calls: Calls) -> None:
    async with SignalingServer(create_app(calls)) as server:
        secret = await mint_client_secret(KEY, base_url=server.url)
        with pytest.raises(RequestRejected, match="403 Forbidden"):
            await mint_client_secret(secret, base_url=server.url)


async def test_a_client_secret_comes_with_the_session_and_its_defaults(
    served: tuple[str, aiohttp.ClientSession],
) -> None:
    url, http = served
    before = time.time()
    async with http.post(url + SECRETS, headers=BEARER) as response:
        assert response.status == 200
        body = await response.json()
    assert body["value"].startswith("ek_")
    assert before + 598 <= body["expires_at"] <= time.time() + 600
    session = body["session"]
    assert session.pop("id").startswith("sess_")
    assert session == {"object": "realtime.session", "type": "realtime", "model": "gpt-realtime"}


@pytest.mark.parametrize(
    ("body", "code", "param"),
    [
        ("[]", "invalid_json", None),
        ("{", "invalid_json", None),
        ('{"session": 5}', "invalid_value", "session"),
        ('{"session": {"type": "chat"}}', "invalid_value", "session.type"),
        ('{"expires_after": 5}', "invalid_value", "expires_after"),
        ('{"expires_after": {"anchor": "now", "seconds": 60}}', "invalid_value", "expires_after.anchor"),
        ('{"expires_after": {"seconds": 9}}', "invalid_value", "expires_after.seconds"),
        ('{"expires_after": {"seconds": 7201}}', "invalid_value", "expires_after.seconds"),
        ('{"expires_after": {"seconds": 60.5}}', "invalid_value", "expires_after.seconds"),
        ('{"expires_after": {"seconds": true}}', "invalid_value", "expires_after.seconds"),
        ('{"expires_after": {"seconds": "60"}}', "invalid_value", "expires_after.seconds"),
    ],
)
async def test_a_wrong_wish_for_a_secret_is_refused(
    served: tuple[str, aiohttp.ClientSession], body: str, code: str, param: str | None
) -> None:
    url, http = served
    async with http.post(url + SECRETS, data=body, headers=BEARER) as response:
        assert response.status == 400
        error = await error_of(response)
    assert (error["code"], error["param"]) == (code, param)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "/nothing", 404),
        ("GET", "/", 404),
        ("OPTIONS", "/nothing", 404),
        ("GET", CALLS, 405),
        ("DELETE", CALLS + "/rtc_1/hangup", 405),
    ],
)
async def test_unknown_paths_and_methods_are_json_errors(
    served: tuple[str, aiohttp.ClientSession], method: str, path: str, status: int
) -> None:
    url, http = served
    async with http.request(method, url + path) as response:
        assert response.status == status
        assert (await error_of(response))["type"] == "invalid_request_error"
        assert ("POST" in response.headers.get("Allow", "")) is (status == 405)


@pytest.mark.parametrize("path", [CALLS, SECRETS, CALLS + "/rtc_1/hangup"])
@pytest.mark.parametrize(
    ("asked", "allowed"),
    [
        ({}, "authorization, content-type, x-openai-agents-sdk"),
        ({"Access-Control-Request-Headers": "authorization,x-own"}, "authorization,x-own"),
    ],
)
async def test_a_browser_on_another_origin_may_come(
    served: tuple[str, aiohttp.ClientSession], path: str, asked: dict[str, str], allowed: str
) -> None:
    url, http = served
    headers = {"Origin": "https://app.example", "Access-Control-Request-Method": "POST"} | asked
    async with http.options(url + path, headers=headers) as response:
        assert response.status == 204
        assert response.headers["Access-Control-Allow-Origin"] == "*"
        assert response.headers["Access-Control-Allow-Headers"] == allowed
        assert "POST" in response.headers["Access-Control-Allow-Methods"]
        assert "Location" in response.headers["Access-Control-Expose-Headers"]


async def test_the_handler_s_refusal_reaches_the_client(
    calls: Calls, served: tuple[str, aiohttp.ClientSession]
) -> None:
    url, http = served
    calls.error = CallRejected("no audio", code="invalid_offer", param="sdp")
    async with http.post(url + CALLS, data=OFFER, headers=SDP) as response:
        assert response.status == 400
        assert await error_of(response) == {
            "message": "no audio",
            "type": "invalid_request_error",
            "code": "invalid_offer",
            "param": "sdp",
        }


async def test_a_crash_of_the_handler_is_logged_and_not_shown(
    calls: Calls, served: tuple[str, aiohttp.ClientSession], caplog: pytest.LogCaptureFixture
) -> None:
    url, http = served
    calls.error = ZeroDivisionError("private detail")
    async with http.post(url + CALLS, data=OFFER, headers=SDP) as response:
        assert response.status == 500
        assert (await error_of(response))["type"] == "server_error"
        assert "private detail" not in await response.text()
    assert [record.name for record in caplog.records] == ["rtc_signaling.server"]
    assert "private detail" in caplog.text
    calls.error = None
    async with http.post(url + CALLS, data=OFFER, headers=SDP) as response:
        assert response.status == 201


async def test_a_client_that_gives_up_cancels_its_call(calls: Calls) -> None:
    calls.wait = asyncio.Event()
    async with SignalingServer(create_app(calls)) as server, SdpClient(base_url=server.url) as client:
        exchange = asyncio.create_task(client.exchange(OFFER, key=KEY, session={"model": "m"}))
        await calls.started.wait()
        exchange.cancel()
        await calls.cancelled.wait()
        with pytest.raises(asyncio.CancelledError):
            await exchange


async def refuse_all(request: web.Request) -> web.StreamResponse | None:
    return web.Response(status=503, text="out of order", headers={"x-request-id": "req_own"})


async def test_an_intercept_runs_before_everything_else(calls: Calls) -> None:
    async with serving(create_app(calls, keys=[], intercept=refuse_all)) as (url, http):
        for path in (CALLS, "/nothing"):
            async with http.post(url + path) as response:
                assert (response.status, await response.text()) == (503, "out of order")
                assert response.headers["x-request-id"] == "req_own"
    assert calls.asked == []


async def test_an_intercept_may_let_pass(calls: Calls) -> None:
    faults = iter([web.json_response({"error": "busy"}, status=429), None])

    async def busy_once(request: web.Request) -> web.StreamResponse | None:
        return next(faults)

    async with serving(create_app(calls, intercept=busy_once)) as (url, http):
        for status in (429, 201):
            async with http.post(url + CALLS, data=OFFER, headers=SDP) as response:
                assert response.status == status


async def test_an_intercept_may_raise_aiohttp_s_answers(calls: Calls) -> None:
    faults = iter([web.HTTPTemporaryRedirect("https://elsewhere.example/"), web.HTTPServiceUnavailable()])

    async def fail(request: web.Request) -> None:
        raise next(faults)

    async with serving(create_app(calls, intercept=fail)) as (url, http):
        async with http.post(url + CALLS, allow_redirects=False) as response:
            assert (response.status, response.headers["Location"]) == (307, "https://elsewhere.example/")
        async with http.post(url + CALLS) as response:
            assert response.status == 503
            assert (await error_of(response))["message"] == "Service Unavailable"


async def test_a_malformed_request_body_is_refused(calls: Calls) -> None:
    arrived = asyncio.Event()

    async def note(request: web.Request) -> None:
        arrived.set()

    async with SignalingServer(create_app(calls, intercept=note)) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", port_of(server.url))
        writer.write(
            b"POST /v1/realtime/calls HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer k\r\n"
            b"Content-Type: application/sdp\r\nContent-Encoding: gzip\r\nContent-Length: 10\r\n\r\n"
        )
        await arrived.wait()
        writer.write(b"nonsense\r\n")
        answer = await reader.readuntil(b"}}")
        writer.close()
    assert b" 400 Bad Request\r\n" in answer
    assert b"invalid_body" in answer
    assert calls.asked == []


async def test_a_crash_of_an_intercept_is_a_500(calls: Calls, caplog: pytest.LogCaptureFixture) -> None:
    async def crash(request: web.Request) -> None:
        raise ZeroDivisionError

    async with serving(create_app(calls, intercept=crash)) as (url, http), http.post(url + CALLS) as response:
        assert response.status == 500
        assert (await error_of(response))["code"] == "server_error"
    assert len(caplog.records) == 1


async def test_neither_keys_nor_sdp_reach_the_log(calls: Calls, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        async with SignalingServer(create_app(calls, keys=[KEY])) as server:
            client = SdpClient(base_url=server.url)
            await client.exchange("v=0\r\na=ice-pwd:topsecret", key=KEY, session={"model": "m"})
            secret = await mint_client_secret(KEY, base_url=server.url)
            with pytest.raises(RequestRejected):
                await client.exchange(OFFER, key="sk-wrong", session={"model": "m"})
    for private in (KEY, "sk-wrong", "topsecret", secret.value):
        assert private not in caplog.text
