import pytest

from rtc_signaling import InvalidUrl
from rtc_signaling.urls import check_url, display_url, drop_query, hangup_path, is_loopback, join_url


@pytest.mark.parametrize(
    "url",
    [
        "https://api.openai.com/v1",
        "https://h:8443/a%2Fb?model=x&y=%20",
        "http://127.0.0.1:8000/v1",
        "http://127.8.9.1/v1",
        "http://localhost/v1",
        "http://[::1]:9/v1",
        "HTTPS://Example.com/",
    ],
)
def test_usable_urls_come_back_as_written(url: str) -> None:
    assert check_url(url) == url


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("", "no http:// or https:// in URL ''"),
        ("api.openai.com/v1", "no http:// or https:// in URL 'api.openai.com/v1'"),
        ("localhost:8000/v1", "no http:// or https:// in URL 'localhost:8000/v1'"),
        ("ftp://h/v1", "neither http:// nor https:// in URL 'ftp://h/v1'"),
        ("wss://h/v1", "wss:// in URL 'wss://h/v1': SDP is exchanged over http"),
        ("https:///v1", "no host in URL 'https:///v1'"),
        ("https://:443/v1", "no host in URL 'https://:443/v1'"),
        (" https://h/v1", "white space or control characters in URL 'https://h/v1'"),
        ("https://h/v 1", "white space or control characters in URL 'https://h/v 1'"),
        ("https://h/\r\nX: y", "white space or control characters in URL 'https://h/ X: y'"),
        ("https://h:99999/", "malformed host or port in URL 'https://h:99999/'"),
        ("https://h:port/", "malformed host or port in URL 'https://h:port/'"),
        ("https://[::1/", "malformed host or port in URL 'https://[::1/'"),
        (
            "http://api.openai.com/v1",
            "plain http to api.openai.com would send the key in clear text: 'http://api.openai.com/v1'",
        ),
        (
            "http://127.0.0.1.example.com/v1",
            (
                "plain http to 127.0.0.1.example.com would send the key in clear text: "
                "'http://127.0.0.1.example.com/v1'"
            ),
        ),
        ("https://me:hunter2@h/v1", "user name or password in URL 'https://***@h/v1'"),
    ],
)
def test_what_people_type_is_named_in_the_error(url: str, text: str) -> None:
    with pytest.raises(InvalidUrl) as caught:
        check_url(url)
    assert str(caught.value) == text


def test_hints_say_what_to_type_instead() -> None:
    with pytest.raises(InvalidUrl) as caught:
        check_url("wss://h/v1?key=abc")
    assert caught.value.hint == "try https://h/v1"
    with pytest.raises(InvalidUrl) as caught:
        check_url("http://10.0.0.1/v1")
    assert caught.value.hint is not None
    assert "allow_plain_http" in caught.value.hint


def test_plain_http_can_be_allowed() -> None:
    assert check_url("http://10.0.0.1/v1", allow_plain_http=True)


@pytest.mark.parametrize(
    "url",
    [
        "https://h/v1?key=hunter2",
        "https://me:hunter2@h/v1",
        "me:hunter2@h/v1",
        "https://me:hunter2@proxy/https://h/v1",
        "http://me:pa/hunter2@h/",
        "https://h/v1#hunter2",
    ],
)
def test_a_displayed_url_hides_credentials(url: str) -> None:
    assert "hunter2" not in display_url(url)
    with pytest.raises(InvalidUrl) as caught:
        check_url(f"{url} ")
    assert "hunter2" not in str(caught.value)


def test_a_key_pasted_as_url_is_not_shown() -> None:
    with pytest.raises(InvalidUrl) as caught:
        check_url("sk-proj-0123456789abcdef")
    assert "0123456789" not in str(caught.value)


@pytest.mark.parametrize(
    ("base", "joined"),
    [
        ("https://h/v1", "https://h/v1/realtime/calls"),
        ("https://h/v1/", "https://h/v1/realtime/calls"),
        ("https://h", "https://h/realtime/calls"),
        ("https://h/openai/v1?api-version=3", "https://h/openai/v1/realtime/calls?api-version=3"),
    ],
)
def test_paths_are_appended_to_the_base(base: str, joined: str) -> None:
    assert join_url(base, "/realtime/calls") == joined


def test_a_call_id_cannot_leave_its_path_segment() -> None:
    assert hangup_path("rtc_1") == "/rtc_1/hangup"
    assert hangup_path("../a?b") == "/..%2Fa%3Fb/hangup"
    for no_id in ("", ".", ".."):
        with pytest.raises(ValueError, match="no call id"):
            hangup_path(no_id)


def test_drop_query_keeps_the_rest() -> None:
    assert drop_query("https://h/v1?a=b#c") == "https://h/v1"
    assert drop_query("https://h/v1#c?d") == "https://h/v1"


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST", "127.0.0.1", "127.1.2.3", "::1"])
def test_loopback_hosts(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize(
    "host", ["", "localhost.example.com", "0.0.0.0", "128.0.0.1", "::", "127.0.0.1.nip.io"]
)
def test_other_hosts(host: str) -> None:
    assert not is_loopback(host)
