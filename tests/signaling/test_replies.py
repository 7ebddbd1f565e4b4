import copy
import json
import pickle

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rtc_signaling import ClientSecret, InvalidAnswer, RequestRejected, SdpAnswer, SignalingError
from rtc_signaling.redaction import one_line, redact
from rtc_signaling.replies import (
    MAX_BODY_BYTES,
    Reply,
    call_id_of,
    check_status,
    read_client_secret,
    read_sdp,
)

URL = "https://h/v1/realtime/calls"
KEY = "hunter2-is-my-key"
SDP = "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\n"


def reply(status: int, body: bytes | str = b"", **headers: str) -> Reply:
    content = body.encode() if isinstance(body, str) else body
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return Reply(URL, status, names, content, secrets=(KEY,))


def rejection(status: int, body: bytes | str = b"", **headers: str) -> RequestRejected:
    with pytest.raises(RequestRejected) as caught:
        check_status(reply(status, body, **headers))
    return caught.value


@pytest.mark.parametrize("status", [200, 201, 202, 299])
@pytest.mark.parametrize("lead", ["", "\ufeff", "\r\n ", "\ufeff\n"])
def test_any_success_that_begins_with_v0_is_an_answer(status: int, lead: str) -> None:
    assert read_sdp(reply(status, lead + SDP)).sdp == SDP


def test_an_answer_carries_call_id_location_and_request_id() -> None:
    answer = read_sdp(reply(201, SDP, location="/v1/realtime/calls/rtc_1?x=y", x_request_id="req_9"))
    assert (answer.call_id, answer.location, answer.request_id) == (
        "rtc_1",
        "/v1/realtime/calls/rtc_1?x=y",
        "req_9",
    )


@pytest.mark.parametrize(
    ("location", "call_id"),
    [
        (None, None),
        ("", None),
        ("/", None),
        ("https://h/", None),
        ("https://h", None),
        ("http://[broken/rtc_1", None),
        ("rtc_1", "rtc_1"),
        ("/v1/realtime/calls/rtc_u1_9c65", "rtc_u1_9c65"),
        ("https://h/v1/realtime/calls/rtc_1/", "rtc_1"),
        ("https://h/calls/rtc_1?a=/b#c/d", "rtc_1"),
        ("/calls/a%2Fb", "a/b"),
    ],
)
def test_the_call_id_is_the_last_path_segment(location: str | None, call_id: str | None) -> None:
    assert call_id_of(location) == call_id


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "an empty body instead of an SDP answer"),
        (b" \r\n", "an empty body instead of an SDP answer"),
        ("<!doctype html><p>Sign in", "HTML instead of an SDP answer: <!doctype html><p>Sign in"),
        ('{"sdp": "v=0"}', 'JSON instead of an SDP answer: {"sdp": "v=0"}'),
        ("o=- v=0", "text instead of an SDP answer: o=- v=0"),
        (b"\xff\xd8\x00\x01", "binary data instead of an SDP answer: \ufffd\ufffd"),
        ("x" * 100, f"text instead of an SDP answer: {'x' * 59}…"),
        ("a\x07b\nc", "text instead of an SDP answer: ab c"),
    ],
)
def test_a_success_that_is_no_sdp_is_described(body: bytes | str, said: str) -> None:
    with pytest.raises(InvalidAnswer) as caught:
        read_sdp(reply(200, body, x_request_id="req_9"))
    assert str(caught.value) == f"{URL} answered 200 with {said}"
    assert (caught.value.status, caught.value.request_id) == (200, "req_9")


def test_an_oversized_answer_is_refused_though_it_begins_well() -> None:
    long = Reply(URL, 200, {}, (SDP * MAX_BODY_BYTES)[:MAX_BODY_BYTES].encode(), truncated=True)
    with pytest.raises(InvalidAnswer, match=f"with more than {MAX_BODY_BYTES} bytes instead of an SDP"):
        read_sdp(long)


@pytest.mark.parametrize(
    ("body", "message", "code"),
    [
        (
            '{"error": {"message": "No quota", "code": "insufficient_quota"}}',
            "No quota",
            "insufficient_quota",
        ),
        ('{"error": {"message": "odd", "code": 42}}', "odd", "42"),
        ('{"error": {"message": {"a": 1}, "code": null}}', "", None),
        ('{"error": "Not today"}', "Not today", None),
        ('{"message": "Not today", "code": "x"}', "Not today", "x"),
        ('{"detail": "Not Found"}', "Not Found", None),
        ('{"detail": [{"msg": "field required"}]}', '[{"msg": "field required"}]', None),
        ('{"error": null}', "", None),
        ("{broken", "{broken", None),
        ("{" * 5, "{{{{{", None),
        ('{"a":' * 100_000, '{"a":' * 99 + '{"a"…', None),
        ("<html><head><TITLE>502 Bad &amp; Gateway</TITLE></head>", "502 Bad & Gateway", None),
        ("<html><h1>Oops</h1><p>try  later</p>", "Oops try later", None),
        ("<title>", "", None),
        ("upstream\nfailed", "upstream failed", None),
        ("", "", None),
        (b"\xff\xfe", "\ufffd\ufffd", None),
    ],
)
def test_the_service_s_words_are_found_in_every_form(
    body: bytes | str, message: str, code: str | None
) -> None:
    error = rejection(400, body)
    assert (error.message[:495], error.code) == (message[:495], code)
    assert "\n" not in str(error)


def test_a_rejection_says_everything_on_one_line() -> None:
    fields = {"message": "Bad\nmodel", "type": "invalid_request_error", "code": "c", "param": "session.model"}
    error = rejection(400, json.dumps({"error": fields}), x_request_id="req_9")
    assert (
        str(error)
        == f"{URL} answered 400 Bad Request: Bad model (code c, param session.model, request req_9)"
    )
    assert (error.type, error.param, error.request_id) == ("invalid_request_error", "session.model", "req_9")


def test_an_empty_body_and_an_unknown_status_are_said_so() -> None:
    assert str(rejection(502)) == f"{URL} answered 502 Bad Gateway with no error text"
    assert str(rejection(599)) == f"{URL} answered 599 with no error text"


@pytest.mark.parametrize(
    ("status", "word"), [(401, "API key"), (403, "model"), (404, "URL"), (429, "quota"), (503, "try again")]
)
def test_usual_statuses_have_a_hint(status: int, word: str) -> None:
    hint = rejection(status).hint
    assert hint is not None
    assert word in hint


def test_a_404_with_a_code_is_not_blamed_on_the_url() -> None:
    assert rejection(404, '{"error": {"message": "gone", "code": "call_id_not_found"}}').hint is None


@pytest.mark.parametrize(
    ("retry_after", "seconds"),
    [
        ("7", 7.0),
        ("0.5", 0.5),
        ("-3", 0.0),
        ("Wed, 21 Oct 2015 07:28:30 GMT", 30.0),
        ("Wed, 21 Oct 2015 07:27:00 GMT", 0.0),
        ("soon", None),
        ("inf", None),
        ("nan", None),
    ],
)
def test_retry_after(retry_after: str, seconds: float | None) -> None:
    error = rejection(429, retry_after=retry_after, date="Wed, 21 Oct 2015 07:28:00 GMT")
    assert error.retry_after_seconds == seconds


def test_retry_after_as_date_needs_the_service_s_own_clock() -> None:
    assert rejection(429, retry_after="Wed, 21 Oct 2015 07:28:30 GMT").retry_after_seconds is None
    assert rejection(429).retry_after_seconds is None


@pytest.mark.parametrize(
    ("location", "target"),
    [
        ("https://evil.example/x?k=v", "https://evil.example/x"),
        ("/v2/calls", "https://h/v2/calls"),
        ("", "nowhere"),
        ("http://[broken", "a malformed URL"),
    ],
)
def test_a_redirect_is_an_error_that_names_the_target(location: str, target: str) -> None:
    error = rejection(307, location=location)
    assert f"307 Temporary Redirect: redirects to {target}, not followed" in str(error)


ECHOES = [
    f'{{"error": {{"message": "bad key {KEY}", "code": "{KEY}", "type": "{KEY}", "param": "{KEY}"}}}}',
    f"<title>{KEY}</title>",
    f"<p>{'x' * 480} {KEY}</p>",
    f"<p>{' ' * (2000 - 3 - len(KEY) // 2)}{KEY}",  # cut in the middle
    f"{'x' * 490} {KEY}",
    f'{{"detail": ["{KEY}"]}}',
]


@pytest.mark.parametrize("body", ECHOES)
@pytest.mark.parametrize("status", [200, 401, 302])
def test_a_key_that_the_server_echoes_is_masked(body: str, status: int) -> None:
    for read in (read_sdp, read_client_secret):
        with pytest.raises(SignalingError) as caught:
            read(reply(status, body, x_request_id=KEY, location=f"https://evil/{KEY}"))
        for part in (KEY, KEY[: len(KEY) // 2]):
            assert part not in str(caught.value) + repr(vars(caught.value))


def test_shapes_of_keys_are_masked_even_if_they_are_not_ours() -> None:
    text = "Incorrect: sk-proj-abcdef123456, ek_0123456789ab, Authorization: Bearer abcdefghijklmnop.qrst"
    assert redact(text) == "Incorrect: ***, ***, Authorization: Bearer ***"
    assert redact("Missing bearer or basic authentication in header") == (
        "Missing bearer or basic authentication in header"
    )


def test_one_line_cuts_to_its_limit() -> None:
    assert one_line("a\n\tb\x1b[31m", 10) == "a b[31m"
    assert one_line("abcdef", 4) == "abc…"


def test_a_client_secret_is_read() -> None:
    body = {"value": "ek_0123456789", "expires_at": 1_700_000_000, "session": {"type": "realtime"}}
    secret = read_client_secret(reply(200, json.dumps(body)))
    assert secret == ClientSecret("ek_0123456789", 1_700_000_000.0, {"type": "realtime"})


@pytest.mark.parametrize(
    "body",
    [
        "",
        "<html>",
        "[]",
        '{"value": "ek_hunter2"}',
        '{"value": "ek_hunter2", "expires_at": "soon"}',
        '{"value": "ek_hunter2", "expires_at": true}',
        '{"value": "ek hunter2", "expires_at": 1}',
        '{"value": "", "expires_at": 1}',
        '{"client_secret": "hunter2hunter2"}',
    ],
)
def test_what_is_no_client_secret_is_refused_without_being_quoted(body: str) -> None:
    with pytest.raises(InvalidAnswer, match="instead of a client secret") as caught:
        read_client_secret(reply(200, body))
    assert "hunter2" not in str(caught.value)


def test_values_that_let_in_are_not_in_reprs() -> None:
    secret = ClientSecret("ek_hunter2hunter2", 1.0, {"tools": [{"authorization": "hunter2"}]})
    answer = SdpAnswer("v=0\r\na=ice-pwd:hunter2", "rtc_1", "/calls/rtc_1?token=hunter2")
    for value in (secret, answer, reply(200, "hunter2")):
        assert "hunter2" not in repr(value) + str(value)
    assert hash(secret) == hash(ClientSecret("ek_hunter2hunter2", 1.0))


def test_errors_survive_copy_and_pickle() -> None:
    rejected = rejection(429, '{"error": "slow"}', retry_after="3")
    invalid = InvalidAnswer("no", status=200, hint="look")
    for error in (rejected, invalid, SignalingError("no", hint="look")):
        for twin in (copy.copy(error), pickle.loads(pickle.dumps(error))):
            assert (type(twin), str(twin), vars(twin)) == (type(error), str(error), vars(error))


@settings(deadline=None, derandomize=True)
@given(
    status=st.integers(200, 599),
    body=st.binary(max_size=300) | st.text(max_size=300).map(lambda text: f"<title{text}".encode()),
    header=st.text(max_size=30),
)
@example(status=400, body=b'{"error": {"message": 1e999}}', header="http://[")
@example(status=200, body=b'{"value": "\xff"}', header="")
def test_nothing_a_server_sends_raises_anything_else(status: int, body: bytes, header: str) -> None:
    names = {"location": header, "x_request_id": header, "retry_after": header, "date": header}
    for read in (read_sdp, read_client_secret):
        said = ""
        try:
            read(reply(status, body, **names))
        except SignalingError as error:
            said = str(error)
        assert not said or said.isprintable()
