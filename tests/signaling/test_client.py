import asyncio
import gc
import gzip
import json
import logging
import socket
import struct
import time
from collections.abc import Mapping
from pathlib import Path

import aiohttp
import pytest

from rtc_signaling import (
    InvalidAnswer,
    InvalidUrl,
    KeyUnavailable,
    RequestRejected,
    SdpClient,
    ServiceUnreachable,
    SignalingError,
    SignalingTimeout,
)
from rtc_signaling.client import BodyForm
from rtc_signaling.replies import MAX_BODY_BYTES
from rtc_signaling.transfer import time_limit
from support.raw_http import http_response, raw_server, shown_by

OFFER = "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\na=ice-pwd:topsecretpassword\r\n"
ANSWER = "v=0\r\ns=answer\r\n"
CREATED = http_response(201, ANSWER, {"Location": "/v1/realtime/calls/rtc_1", "x-request-id": "req_1"})
SESSION = {"type": "realtime", "model": "gpt-realtime", "instructions": "Kürze!"}
KEY = "sk-proj-hunter2hunter2"
EPHEMERAL = "ek_hunter2hunter2"


async def test_an_exchange_from_offer_to_answer() -> None:
    async with raw_server(CREATED) as server, SdpClient(base_url=server.url) as client:
        answer = await client.exchange(OFFER, key=EPHEMERAL, session=SESSION)
    assert (answer.sdp, answer.call_id, answer.request_id) == (ANSWER, "rtc_1", "req_1")
    assert server.head.startswith("POST /v1/realtime/calls HTTP/1.1\r\n")
    assert "\r\nAccept: application/sdp\r\n" in server.head
    assert f"\r\nAuthorization: Bearer {EPHEMERAL}\r\n" in server.head
    assert "openai-beta" not in server.head.lower()
    assert server.body == OFFER.encode()


@pytest.mark.parametrize(
    ("body", "key", "raw"),
    [
        ("auto", EPHEMERAL, True),
        ("auto", KEY, False),
        ("auto", "any-other-key", False),
        ("auto", None, False),
        ("raw", KEY, True),
        ("raw", None, True),
        ("multipart", EPHEMERAL, False),
    ],
)
async def test_the_form_of_the_body_follows_the_key(body: BodyForm, key: str | None, raw: bool) -> None:
    async with raw_server(CREATED) as server:
        await SdpClient(base_url=server.url, body=body).exchange(OFFER, key=key, session=SESSION)
    content_type = "application/sdp" if raw else "multipart/form-data; boundary="
    assert f"\r\nContent-Type: {content_type}" in server.head
    compact = json.dumps(SESSION, ensure_ascii=False, separators=(",", ":")).encode()
    assert (compact in server.body) is not raw
    assert ("\r\nAuthorization: " in server.head) is (key is not None)


@pytest.mark.parametrize(
    "path", ["/calls", "/a%2Fb/../c?x=a+b%20c&y=%zz&z=|{}", "/deployments/x?api-version=1"]
)
async def test_a_given_url_is_posted_to_exactly_as_written(path: str) -> None:
    async with raw_server(CREATED) as server:
        url = server.url.removesuffix("/v1") + path
        await SdpClient(base_url="https://unused.invalid").exchange(OFFER, key=KEY, session=SESSION, url=url)
    assert server.head.startswith(f"POST {path} HTTP/1.1\r\n")


async def test_letters_beyond_ascii_in_a_url_are_encoded() -> None:
    async with raw_server(CREATED) as server:
        url = f"{server.url}/größe?q=ü"
        await SdpClient().exchange(OFFER, key=KEY, session=SESSION, url=url)
    assert server.head.startswith("POST /v1/gr%C3%B6%C3%9Fe?q=%C3%BC HTTP/1.1\r\n")


async def test_custom_headers_go_along_and_win() -> None:
    headers = {"X-Trace": "7", "authorization": "Basic abc", "accept": "*/*"}
    async with raw_server(CREATED) as server:
        client = SdpClient(base_url=server.url, headers=headers)
        await client.exchange(OFFER, key=KEY, session=SESSION)
    sent = server.head.lower()
    assert "\r\nx-trace: 7\r\n" in sent
    assert "\r\nauthorization: basic abc\r\n" in sent
    assert "\r\naccept: */*\r\n" in sent
    assert "hunter2" not in sent


@pytest.mark.parametrize(
    ("headers", "text"),
    [
        ({"X-Key": "hunter2\r\nX-Evil: 1"}, "control characters (a line end?) in the value of header X-Key"),
        ({"X-Key": "hunter2\n"}, "control characters (a line end?) in the value of header X-Key"),
        ({"X-Key": "hunter2\x00"}, "control characters (a line end?) in the value of header X-Key"),
        ({"X Key": "hunter2"}, "no header name: 'X Key'"),
        ({"X-Key\r\n": "hunter2"}, "no header name: 'X-Key\\r\\n'"),
        ({"": "hunter2"}, "no header name: ''"),
        ({"content-TYPE": "hunter2"}, "header content-TYPE follows from the body and cannot be set"),
    ],
)
def test_headers_that_cannot_be_sent_are_refused_at_once(headers: Mapping[str, str], text: str) -> None:
    with pytest.raises(ValueError) as caught:
        SdpClient(headers=headers)
    assert str(caught.value) == text


def test_an_unknown_body_form_is_refused() -> None:
    with pytest.raises(ValueError, match="body is 'json', not one of auto, raw, multipart"):
        SdpClient(body="json")  # type: ignore[arg-type]  # the fault under test


@pytest.mark.parametrize("offer", ["", " \r\n"])
async def test_an_empty_offer_is_refused(offer: str) -> None:
    with pytest.raises(ValueError, match="the SDP offer is empty"):
        await SdpClient().exchange(offer, key=KEY, session=SESSION)


@pytest.mark.parametrize(
    "url", ["", "api.openai.com/v1", "wss://h/v1", "http://api.openai.com/v1", "https://a b"]
)
async def test_a_wrong_url_is_refused_before_anything_is_sent(url: str) -> None:
    with pytest.raises(InvalidUrl):
        await SdpClient().exchange(OFFER, key=KEY, session=SESSION, url=url)
    with pytest.raises(InvalidUrl):
        await SdpClient(base_url=url).hangup("rtc_1", key=KEY)


@pytest.mark.parametrize("host", ["xn--a", "ü\u0300" * 70, "a" * 70 + ".invalid"])
async def test_a_host_that_cannot_be_a_host_name_is_refused(host: str) -> None:
    with pytest.raises(SignalingError) as caught:
        await SdpClient().exchange(OFFER, key=KEY, session=SESSION, url=f"https://{host}/")
    assert "\n" not in str(caught.value)


async def test_a_key_that_would_split_the_header_is_refused() -> None:
    with pytest.raises(KeyUnavailable) as caught:
        await SdpClient().exchange(OFFER, key=f"{KEY}\r\nX-Evil: 1", session=SESSION)
    assert "hunter2" not in shown_by(caught.value)


@pytest.mark.parametrize("status", [401, 403, 404, 429, 500, 503])
@pytest.mark.parametrize(
    ("content_type", "body", "message"),
    [
        ("application/json", '{"error": {"message": "No, thanks.", "code": "c"}}', "No, thanks."),
        ("text/html", "<html><title>No entry</title>", "No entry"),
        ("text/plain", "", ""),
    ],
)
async def test_a_rejection_carries_the_service_s_words(
    status: int, content_type: str, body: str, message: str
) -> None:
    answer = http_response(status, body, {"Content-Type": content_type, "X-Request-Id": "req_7"})
    async with raw_server(answer) as server:
        with pytest.raises(RequestRejected) as caught:
            await SdpClient(base_url=server.url).exchange(OFFER, key=KEY, session=SESSION)
    assert (caught.value.status, caught.value.message, caught.value.request_id) == (status, message, "req_7")
    assert str(caught.value).startswith(f"{server.url}/realtime/calls answered {status} ")


@pytest.mark.parametrize("body", ["", "<html>Sign in</html>", '{"sdp": "v=0"}'])
async def test_a_success_without_sdp_is_an_error(body: str) -> None:
    async with raw_server(http_response(200, body)) as server:
        with pytest.raises(InvalidAnswer, match="instead of an SDP answer"):
            await SdpClient(base_url=server.url).exchange(OFFER, key=KEY, session=SESSION)


async def test_a_body_without_end_is_cut_off() -> None:
    bomb = gzip.compress(b"v=0\r\n" * MAX_BODY_BYTES)
    async with raw_server(http_response(200, bomb, {"Content-Encoding": "gzip"})) as server:
        with pytest.raises(InvalidAnswer, match=f"more than {MAX_BODY_BYTES} bytes"):
            await SdpClient(base_url=server.url).exchange(OFFER, key=KEY, session=SESSION)


async def test_a_body_that_never_ends_is_not_read_to_the_end() -> None:
    endless = b"HTTP/1.1 200 OK\r\n\r\n" + b"v=0\r\n" * (MAX_BODY_BYTES // 4)
    async with raw_server(endless, hold=True) as server:
        with pytest.raises(InvalidAnswer, match=f"more than {MAX_BODY_BYTES} bytes"):
            await SdpClient(base_url=server.url).exchange(OFFER, key=KEY, session=SESSION)
        await server.gone.wait()


async def test_a_redirect_is_not_followed_with_the_key() -> None:
    async with raw_server(CREATED) as elsewhere:
        answer = http_response(307, "", {"Location": f"{elsewhere.url}/other"})
        async with raw_server(answer) as server:
            with pytest.raises(RequestRejected, match="not followed") as caught:
                await SdpClient(base_url=server.url).exchange(OFFER, key=KEY, session=SESSION)
    assert f"{elsewhere.url}/other" in str(caught.value)
    assert elsewhere.requests == []


async def test_a_refused_connection_is_named() -> None:
    async with raw_server(CREATED) as server:
        pass
    with pytest.raises(ServiceUnreachable) as caught:
        await SdpClient(base_url=server.url).exchange(OFFER, key=KEY, session=SESSION)
    assert str(caught.value) == f"cannot connect to {server.url}/realtime/calls: Connection refused"


@pytest.mark.parametrize(
    ("sent", "text"),
    [
        (b"", "{} closed the connection without an answer"),
        (b"HTTP/1.1 201 Created\r\nContent-Le", "{} closed the connection without an answer"),
        (
            b"HTTP/1.1 201 Created\r\nContent-Length: 400\r\n\r\nv=0\r\n",
            "the response of {} is broken or broke off",
        ),
        (
            b"HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\n40\r\nv=0\r\n",
            "the response of {} is broken or broke off",
        ),
        (
            http_response(201, b"no gzip at all", {"Content-Encoding": "gzip"}),
            "the response of {} is broken or broke off",
        ),
        (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", "{} did not answer in HTTP"),
        (b"HTTP/1.1 abc\r\n\r\n" + KEY.encode(), "{} did not answer in HTTP"),
    ],
)
async def test_broken_http_is_named(sent: bytes, text: str) -> None:
    async with raw_server(sent) as server:
        with pytest.raises(ServiceUnreachable) as caught:
            await SdpClient(base_url=server.url).exchange(OFFER, key=KEY, session=SESSION)
    assert str(caught.value) == text.format(f"{server.url}/realtime/calls")
    assert "hunter2" not in shown_by(caught.value)


async def test_a_reset_connection_is_named() -> None:
    async def reset(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        at_once = struct.pack("ii", 1, 0)  # SO_LINGER of no time at all: RST instead of FIN
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, at_once)
        writer.close()

    async with await asyncio.start_server(reset, "127.0.0.1", 0) as listener:
        url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}/v1"
        with pytest.raises(ServiceUnreachable) as caught:
            await SdpClient(base_url=url).exchange(OFFER, key=KEY, session=SESSION)
    assert str(caught.value) == f"connection to {url}/realtime/calls lost: Connection reset by peer"


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (OSError("Multiple exceptions: a, b"), "connection to {} lost: Multiple exceptions: a, b"),
        (aiohttp.ClientError("odd"), "no answer from {}: ClientError"),
        (aiohttp.InvalidURL("odd"), "malformed URL '{}'"),
    ],
)
async def test_whatever_aiohttp_raises_is_translated(error: Exception, text: str) -> None:
    async def fail(*_: object) -> None:
        raise error

    trace = aiohttp.TraceConfig()
    trace.on_request_start.append(fail)
    async with raw_server(CREATED) as server, aiohttp.ClientSession(trace_configs=[trace]) as http:
        with pytest.raises(SignalingError) as caught:
            await SdpClient(base_url=server.url, http=http).exchange(OFFER, key=KEY, session=SESSION)
    assert str(caught.value) == text.format(f"{server.url}/realtime/calls")
    assert caught.value.__cause__ is error


@pytest.mark.parametrize("sent", [b"", b"HTTP/1.1 201 Created\r\nContent-Length: 9\r\n\r\nv=0"])
async def test_a_server_that_never_answers_is_left_in_time(sent: bytes) -> None:
    async with raw_server(sent, hold=True) as server, SdpClient(base_url=server.url) as client:
        started = time.monotonic()
        with pytest.raises(SignalingTimeout) as caught:
            await client.exchange(OFFER, key=KEY, session=SESSION, timeout_seconds=0.5)
        assert time.monotonic() - started < 2
        await server.gone.wait()
    assert str(caught.value) == f"the SDP exchange with {server.url}/realtime/calls took longer than 0.5 s"
    assert "hunter2" not in shown_by(caught.value)


async def test_cancelling_aborts_the_request_and_leaves_nothing() -> None:
    before = asyncio.all_tasks()
    async with raw_server(b"", hold=True) as server:
        task = asyncio.create_task(
            SdpClient(base_url=server.url).exchange(OFFER, key=KEY, session=SESSION, timeout_seconds=60)
        )
        await server.arrived.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await server.gone.wait()
    assert asyncio.all_tasks() == before
    gc.collect()  # an unclosed session would warn here


async def test_closing_the_client_aborts_its_requests_and_refuses_new_ones() -> None:
    async with raw_server(b"", hold=True) as server:
        client = SdpClient(base_url=server.url)
        task = asyncio.create_task(client.exchange(OFFER, key=KEY, session=SESSION, timeout_seconds=60))
        await server.arrived.wait()
        await client.aclose()
        await client.aclose()
        with pytest.raises(ServiceUnreachable):
            await task
        await server.gone.wait()
        with pytest.raises(SignalingError, match="the HTTP client is closed"):
            await client.exchange(OFFER, key=KEY, session=SESSION)


async def test_a_lent_session_is_used_and_stays_open() -> None:
    async with raw_server(CREATED, http_response(404)) as server:
        async with aiohttp.ClientSession(headers={"X-Theirs": "1"}, raise_for_status=True) as http:
            async with SdpClient(base_url=server.url, http=http) as client:
                await client.exchange(OFFER, key=KEY, session=SESSION)
                with pytest.raises(RequestRejected):
                    await client.hangup("rtc_1", key=KEY)
            assert not http.closed
        assert "\r\nX-Theirs: 1\r\n" in server.head
        with pytest.raises(SignalingError, match="the HTTP client is closed"):
            await SdpClient(base_url=server.url, http=http).exchange(OFFER, key=KEY, session=SESSION)


async def test_credentials_for_the_host_in_netrc_do_not_get_in_the_way(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login me password secret\n")
    monkeypatch.setenv("NETRC", str(netrc))
    async with raw_server(CREATED) as server:
        await SdpClient(base_url=server.url).exchange(OFFER, key=KEY, session=SESSION)
    assert f"\r\nAuthorization: Bearer {KEY}\r\n" in server.head


async def test_a_lent_session_that_refuses_our_headers_is_explained() -> None:
    async def refuse(*_: object) -> None:
        raise ValueError("Cannot combine AUTHORIZATION header with AUTH argument")

    trace = aiohttp.TraceConfig()
    trace.on_request_start.append(refuse)
    async with raw_server(CREATED) as server, aiohttp.ClientSession(trace_configs=[trace]) as http:
        with pytest.raises(SignalingError, match=r"cannot send to .*: Cannot combine AUTH") as caught:
            await SdpClient(base_url=server.url, http=http).exchange(OFFER, key=KEY, session=SESSION)
    assert "hunter2" not in shown_by(caught.value)


async def test_keys_in_headers_of_any_kind_are_masked_in_errors() -> None:
    body = '{"error": {"message": "who is vendor-swordfish or Basic opensesame or lent-secret?"}}'
    headers = {"api-key": "vendor-swordfish", "Authorization": "Basic opensesame"}
    async with (
        raw_server(http_response(401, body)) as server,
        aiohttp.ClientSession(headers={"X-Token": "lent-secret"}) as http,
    ):
        client = SdpClient(base_url=server.url, headers=headers, http=http)
        with pytest.raises(RequestRejected) as caught:
            await client.exchange(OFFER, key=None, session=SESSION)
    assert caught.value.message == "who is *** or *** or ***?"


async def test_neither_keys_nor_sdp_reach_the_log(caplog: pytest.LogCaptureFixture) -> None:
    echo = http_response(401, f'{{"error": "{KEY}"}}', {"x-request-id": KEY})
    async with raw_server(CREATED, echo) as server:
        client = SdpClient(base_url=server.url)
        with caplog.at_level(logging.DEBUG):
            url = f"{server.url}/calls?token=hunter2"
            await client.exchange(OFFER, key=KEY, session=SESSION, url=url)
            with pytest.raises(RequestRejected) as caught:
                await client.exchange(OFFER, key=KEY, session=SESSION)
    assert "/v1/calls: 201, request req_1" in caplog.text
    for text in (caplog.text, shown_by(caught.value), repr(client)):
        assert "hunter2" not in text
        assert "topsecret" not in text


async def test_hanging_up_posts_to_the_call() -> None:
    async with raw_server(http_response(200)) as server:
        client = SdpClient(base_url=server.url)
        await client.hangup("rtc_1/x", key=KEY)
        assert server.head.startswith("POST /v1/realtime/calls/rtc_1%2Fx/hangup HTTP/1.1\r\n")
        assert f"\r\nAuthorization: Bearer {KEY}\r\n" in server.head
        assert server.body == b""
        await client.hangup("rtc_1", key=None, url=f"{server.url}/a%2Fb/calls?model=x")
        assert server.head.startswith("POST /v1/a%2Fb/calls/rtc_1/hangup HTTP/1.1\r\n")


async def test_hanging_up_fails_like_an_exchange() -> None:
    gone = http_response(404, '{"error": {"message": "no such call", "code": "call_id_not_found"}}')
    async with raw_server(gone) as server:
        with pytest.raises(RequestRejected, match="404 Not Found: no such call"):
            await SdpClient(base_url=server.url).hangup("rtc_1", key=KEY)
    async with raw_server(b"", hold=True) as server:
        client = SdpClient(base_url=server.url)
        with pytest.raises(SignalingTimeout, match=r"the hang-up at .* took longer than 0.05 s"):
            await client.hangup("rtc_1", key=KEY, timeout_seconds=0.05)
    with pytest.raises(ValueError, match="no call id: ''"):
        await client.hangup("", key=KEY)


async def test_a_timeout_of_somebody_else_is_not_ours() -> None:
    with pytest.raises(TimeoutError, match="theirs"):
        async with time_limit(60, "waiting"):
            raise TimeoutError("theirs")


async def test_one_client_serves_many_calls_at_once() -> None:
    async with raw_server(CREATED) as server, SdpClient(base_url=server.url) as client:
        answers = await asyncio.gather(*(client.exchange(OFFER, key=KEY, session=SESSION) for _ in range(20)))
    assert [answer.call_id for answer in answers] == ["rtc_1"] * 20
