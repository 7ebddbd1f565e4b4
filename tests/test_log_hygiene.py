"""No key, no SDP credential and no address reaches our logs, whatever happens to a call."""

import logging
import re

import pytest

from rtc_transport import ConnectError, RealtimeServer, ToneSource, WebRTCTransport
from rtc_transport.server import Faults
from support.transports import connected

KEY = "sk-proj-very-secret-0123456789abcdef"
ROOMS = ("rtc_transport", "rtc_signaling", "rtc_audio")


@pytest.fixture
def our_logs(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    for room in ROOMS:
        caplog.set_level(logging.DEBUG, room)
    return caplog


def assert_clean(caplog: pytest.LogCaptureFixture, *secrets: str) -> None:
    ours = [record for record in caplog.records if record.name.startswith(ROOMS)]
    assert ours, "nothing was logged, so nothing was tested"
    text = "\n".join(record.getMessage() + (record.exc_text or "") for record in ours)
    for secret in (KEY, "a=ice-pwd", "a=fingerprint", "candidate:", *secrets):
        assert secret not in text
    louder = "\n".join(record.getMessage() for record in ours if record.levelno >= logging.INFO)
    assert not re.search(r"\b(?!127\.)\d{1,3}\.\d{1,3}\.\d{1,3}\.\d{1,3}\b", louder)


async def test_a_call_logs_neither_keys_nor_credentials(our_logs: pytest.LogCaptureFixture) -> None:
    async with RealtimeServer(keys=[KEY]) as server:
        transport = WebRTCTransport(ToneSource(), base_url=server.url, api_key=KEY)
        await transport.connect()
        description = transport._call.peer.connection.localDescription.sdp  # type: ignore[union-attr]  # it is connected
        password = re.search(r"a=ice-pwd:(\S+)", description)
        assert password is not None
        assert KEY not in repr(transport)
        assert KEY not in repr(vars(transport))
        await transport.close()
    assert_clean(our_logs, password[1])


@pytest.mark.parametrize("faults", [Faults(status=401), Faults(reject_update="no"), Faults(tcp_only=True)])
async def test_failures_show_no_key(our_logs: pytest.LogCaptureFixture, faults: Faults) -> None:
    async with RealtimeServer(faults=faults) as server:
        transport = WebRTCTransport(base_url=server.url, api_key=KEY)
        with pytest.raises(ConnectError) as caught:
            await transport.connect()
        assert KEY not in str(caught.value) + repr(caught.value) + repr(caught.value.__cause__)
    assert_clean(our_logs)


async def test_client_events_do_not_repeat_the_secrets_of_tools(our_logs: pytest.LogCaptureFixture) -> None:
    tool = {"type": "mcp", "server_label": "s", "server_url": "https://mcp.invalid", "authorization": KEY}
    async with RealtimeServer() as server, connected(server, session={"tools": [tool]}) as transport:
        transport.send_message("Hi")
        await transport.wait_for("turn_done", timeout=10)
    assert_clean(our_logs)
