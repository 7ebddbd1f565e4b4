"""What clients send to the server side: every body that is none is refused with the service's words."""

import io

import aiohttp
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rtc_signaling import (
    CallRejected,
    create_app,
)
from rtc_signaling.server_requests import read_call_session, read_offer, read_secret_request
from support.signaling_calls import (
    BEARER,
    CALLS,
    OFFER,
    Calls,
    error_of,
    serving,
)


@pytest.mark.parametrize(
    ("content_type", "body", "status", "code", "param"),
    [
        ("application/sdp", b"", 400, "invalid_offer", "sdp"),
        ("application/sdp", b" \r\n", 400, "invalid_offer", "sdp"),
        ("application/sdp", b"hello", 400, "invalid_offer", "sdp"),
        ("application/sdp", b"\xff\xfe", 400, "invalid_offer", "sdp"),
        ("application/sdp", b"v=0\r\n" * 300_000, 413, "request_too_large", None),
        ("application/json", b"{}", 415, "unsupported_content_type", None),
        ("text/plain", OFFER.encode(), 415, "unsupported_content_type", None),
        ("multipart/form-data", b"", 400, "invalid_body", None),
        ("multipart/form-data; boundary=x", b"nonsense", 400, "invalid_body", None),
        ("multipart/form-data; boundary=x", b"--x--\r\n", 400, "missing_required_parameter", "sdp"),
    ],
)
async def test_what_is_no_offer_is_refused(
    served: tuple[str, aiohttp.ClientSession],
    content_type: str,
    body: bytes,
    status: int,
    code: str,
    param: str | None,
) -> None:
    url, http = served
    headers = BEARER | {"Content-Type": content_type}
    async with http.post(url + CALLS, data=io.BytesIO(body), headers=headers) as response:
        assert response.status == status
        error = await error_of(response)
    assert (error["code"], error["param"]) == (code, param)


@pytest.mark.parametrize(
    ("session", "code", "param"),
    [
        (b"nonsense", "invalid_json", "session"),
        (b"[]", "invalid_json", "session"),
        (b'{"type": NaN}', "invalid_json", "session"),
        (b"[" * 100_000, "invalid_json", "session"),
        (b"{}", "missing_required_parameter", "session.type"),
        (b'{"type": "chat", "model": "m"}', "invalid_value", "session.type"),
        (b'{"type": ["realtime"], "model": "m"}', "invalid_value", "session.type"),
        (b'{"type": "realtime"}', "missing_required_parameter", "session.model"),
        (b'{"type": "realtime", "model": ""}', "missing_required_parameter", "session.model"),
        (b'{"type": "realtime", "model": 5}', "invalid_value", "session.model"),
    ],
)
def test_what_is_no_session_is_refused(session: bytes, code: str, param: str) -> None:
    with pytest.raises(CallRejected) as caught:
        read_call_session(session)
    assert (caught.value.status, caught.value.code, caught.value.param) == (400, code, param)


def test_a_byte_order_mark_before_the_offer_is_dropped() -> None:
    assert read_offer(b"\xef\xbb\xbf" + OFFER.encode()) == OFFER


@settings(deadline=None, derandomize=True)
@given(st.binary(max_size=200))
def test_no_body_crashes_a_reader(content: bytes) -> None:
    for read in (read_offer, read_call_session, read_secret_request):
        try:
            read(content)
        except CallRejected as rejected:
            status = rejected.status
        else:
            status = 200
        assert status in (200, 400)


@settings(deadline=None, derandomize=True)
@given(st.binary(max_size=200))
async def test_no_multipart_body_crashes_the_server(content: bytes) -> None:
    form = b"--x\r\nContent-Disposition: form-data; name=sdp\r\n" + content + b"\r\n--x--\r\n"
    async with serving(create_app(Calls())) as (url, http):
        headers = BEARER | {"Content-Type": "multipart/form-data; boundary=x"}
        async with http.post(url + CALLS, data=form, headers=headers) as response:
            assert response.status in (201, 400)
