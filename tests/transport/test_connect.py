"""connect(): its stages, its one deadline, who shares it, and what is left when it fails."""

import asyncio
import logging
from typing import Any

import numpy as np
import pytest

from rtc_audio.ports import Pcm
from rtc_transport import (
    ConfigError,
    ConnectError,
    ConnectTimeout,
    RealtimeServer,
    SessionConfig,
    ToneSource,
    WebRTCTransport,
)
from rtc_transport.server import Faults
from support.transports import call_of, connected, level_dbfs, other_tasks, sent_by_client


async def test_connect_returns_when_the_configuration_is_acknowledged(
    realtime_server: RealtimeServer,
) -> None:
    seen = list[str]()
    async with WebRTCTransport(base_url=realtime_server.url) as transport:
        transport.on("connection_change", lambda event: seen.append(event.status))
        transport.on("connected", lambda _: seen.append("(connected)"))
        transport.on("session.updated", lambda _: seen.append(f"session.updated while {transport.status}"))
        await transport.connect(api_key="test-key", session=SessionConfig(instructions="Be brief."))
        assert transport.status == "connected"
        assert seen[:2] == ["connecting", "connected"]
        assert transport.call_id is not None
        assert transport.call_id.startswith("rtc_")
        updates = [
            e for e in sent_by_client(call_of(realtime_server, transport)) if e["type"] == "session.update"
        ]
        assert len(updates) == 1
        assert updates[0]["session"] == {"type": "realtime", "instructions": "Be brief."}
        assert updates[0]["event_id"]
        assert list(transport.stats().connect_seconds) == [
            "key",
            "signaling",
            "ice",
            "dtls",
            "channel",
            "session",
        ]
        assert transport.session.instructions == "Be brief."
    assert seen[-2:] == ["disconnecting", "disconnected"]
    assert "session.updated while connected" in seen


async def test_with_nothing_given_the_update_is_empty_and_acknowledged(
    realtime_server: RealtimeServer,
) -> None:
    async with connected(realtime_server) as transport:
        first = sent_by_client(call_of(realtime_server, transport))[0]
        assert first["session"] == {"type": "realtime"}


@pytest.mark.parametrize(
    ("options", "connect", "model"),
    [
        ({}, {}, "gpt-realtime"),
        ({"model": "of-the-transport"}, {}, "of-the-transport"),
        ({"model": "of-the-transport"}, {"session": {"model": "of-the-session"}}, "of-the-session"),
        ({"model": "of-the-transport"}, {"session": {"model": "x"}, "model": "of-connect"}, "of-connect"),
    ],
)
async def test_the_nearest_model_is_asked_for(
    realtime_server: RealtimeServer, options: dict[str, Any], connect: dict[str, Any], model: str
) -> None:
    async with WebRTCTransport(base_url=realtime_server.url, **options) as transport:
        await transport.connect(api_key="test-key", **connect)
        assert transport.session.model == model


async def test_a_given_url_is_posted_to_as_it_is(realtime_server: RealtimeServer) -> None:
    async with WebRTCTransport() as transport:
        await transport.connect(api_key="test-key", url=realtime_server.calls_url + "?api-version=1")
        assert transport.call_id in realtime_server.calls


async def test_a_second_connect_joins_the_first(realtime_server: RealtimeServer) -> None:
    async with WebRTCTransport(base_url=realtime_server.url) as transport:
        await asyncio.gather(*(transport.connect(api_key="test-key") for _ in range(3)))
        assert len(realtime_server.calls) == 1


async def test_connect_while_connected_returns_and_warns_of_other_options(
    realtime_server: RealtimeServer, caplog: pytest.LogCaptureFixture
) -> None:
    async with connected(realtime_server) as transport:
        with caplog.at_level(logging.WARNING, "rtc_transport"):
            await transport.connect(api_key="test-key")
            assert caplog.records == []
            await transport.connect(api_key="test-key", session={"instructions": "Other."})
        assert "already connected: the options of this connect() are ignored" in caplog.text
        assert len(realtime_server.calls) == 1


async def test_cancelling_one_waiter_leaves_the_attempt_to_the_others(
    realtime_server: RealtimeServer,
) -> None:
    async with WebRTCTransport(base_url=realtime_server.url) as transport:
        first = asyncio.create_task(transport.connect(api_key="test-key"))
        second = asyncio.create_task(transport.connect(api_key="test-key"))
        await asyncio.sleep(0.01)
        first.cancel()
        await second
        assert first.cancelled()
        assert transport.status == "connected"


async def test_cancelling_the_last_waiter_ends_the_attempt() -> None:
    async with RealtimeServer(faults=Faults(never_answer=True)) as server:
        transport = WebRTCTransport(ToneSource(), base_url=server.url)
        waiters = [asyncio.create_task(transport.connect(api_key="test-key")) for _ in range(2)]
        await asyncio.sleep(0.1)
        for waiter in waiters:
            waiter.cancel()
        outcomes = await asyncio.gather(*waiters, return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [asyncio.CancelledError] * 2
        assert transport.status == "disconnected"
    assert await other_tasks() == set()


async def test_close_rejects_everybody_who_waits_with_the_same_error() -> None:
    async with RealtimeServer(faults=Faults(never_answer=True)) as server:
        transport = WebRTCTransport(base_url=server.url)
        waiters = [asyncio.create_task(transport.connect(api_key="test-key")) for _ in range(3)]
        await asyncio.sleep(0.1)
        await transport.close()
        outcomes = await asyncio.gather(*waiters, return_exceptions=True)
        assert {str(outcome) for outcome in outcomes} == {
            "connect failed at stage signaling: close() was called before the connection was established"
        }
        assert transport.status == "disconnected"
    assert await other_tasks() == set()


async def test_a_transport_connects_again_after_a_failure_and_after_a_close(
    realtime_server: RealtimeServer,
) -> None:
    async with WebRTCTransport(ToneSource(), base_url=realtime_server.url) as transport:
        with pytest.raises(ConnectError):
            await transport.connect(url="http://127.0.0.1:9/v1/realtime/calls", api_key="test-key")
        for _ in range(2):
            await transport.connect(api_key="test-key")
            await transport.close()
        assert len(realtime_server.calls) == 2


class CountingKey:
    """A key function that counts how often it is asked."""

    def __init__(self) -> None:
        self.asked = 0

    async def __call__(self) -> str:
        self.asked += 1
        await asyncio.sleep(0)
        return "test-key"


async def test_a_key_function_is_asked_once_per_attempt(realtime_server: RealtimeServer) -> None:
    key = CountingKey()
    async with WebRTCTransport(base_url=realtime_server.url, api_key=key) as transport:
        await asyncio.gather(transport.connect(), transport.connect())
        assert key.asked == 1


async def test_a_failing_key_function_names_its_stage() -> None:
    def no_key() -> str:
        raise RuntimeError("the vault is shut: sk-secret-1234")

    transport = WebRTCTransport(api_key=no_key)
    with pytest.raises(ConnectError, match="connect failed at stage key: ") as caught:
        await transport.connect()
    assert caught.value.stage == "key"
    assert "sk-secret" not in str(caught.value)


async def test_a_bad_configuration_is_refused_before_anything_begins() -> None:
    transport = WebRTCTransport(base_url="http://127.0.0.1:9/v1")
    with pytest.raises(ConfigError, match="output_modalities"):
        await transport.connect(session={"output_modalities": "audio"})
    assert transport.status == "disconnected"


FAILURES = [
    (Faults(status=401), "signaling", "401 Unauthorized: Refused on purpose"),
    (Faults(status=403, body="html"), "signaling", "403 Forbidden: 403 Refused"),
    (Faults(status=404, body="empty"), "signaling", "404 Not Found with no error text"),
    (Faults(status=429), "signaling", "429 Too Many Requests"),
    (Faults(status=503, body="html"), "signaling", "503 Service Unavailable"),
    (Faults(no_channel=True), "signaling", "the answer has no data channel"),
    (
        Faults(tcp_only=True),
        "ice",
        "the answer has only TCP candidates, which only browsers use; where UDP is blocked",
    ),
    (Faults(reject_update="No such voice."), "session", "No such voice."),
    (Faults(never_answer=True), "signaling", "not done within 1 s"),
    (Faults(never_open=True), "channel", "not done within 1 s"),
    (Faults(no_acknowledgement=True), "session", "not done within 1 s"),
    (
        Faults(hang_up_after_seconds=0.01, no_acknowledgement=True),
        "session",
        "the peer closed the control channel",
    ),
]


@pytest.mark.parametrize(("faults", "stage", "text"), FAILURES, ids=lambda value: str(value)[:60])
async def test_a_failure_names_its_stage_and_leaves_nothing(faults: Faults, stage: str, text: str) -> None:
    source = StartedSource()
    async with RealtimeServer(faults=faults) as server:
        transport = WebRTCTransport(source, base_url=server.url)
        with pytest.raises(ConnectError) as caught:
            await transport.connect(api_key="test-key", timeout_seconds=1)
        assert caught.value.stage == stage
        assert text in str(caught.value)
        assert isinstance(caught.value, TimeoutError) == ("not done within" in text)
        assert transport.status == "disconnected"
        assert (source.started, source.closed) in ((1, 1), (0, 0), (0, 1))
    assert await other_tasks() == set()


async def test_five_seconds_without_an_acknowledgement_are_an_error() -> None:
    async with RealtimeServer(faults=Faults(no_acknowledgement=True)) as server:
        transport = WebRTCTransport(base_url=server.url)
        began = asyncio.get_running_loop().time()
        with pytest.raises(ConnectTimeout, match="the service did not acknowledge the session within 5 s"):
            await transport.connect(api_key="test-key")
        assert 4.9 < asyncio.get_running_loop().time() - began < 8


class StartedSource:
    """A tone that counts how often it was started, read and closed."""

    rate_hz = 48000
    channels = 1
    ended = False

    def __init__(self, fail: bool = False) -> None:
        self.started = self.closed = self.read_frames = 0
        self._fail = fail

    async def start(self) -> None:
        if self._fail:
            raise OSError("the microphone is on fire")
        self.started += 1

    def read(self, n: int) -> Pcm:
        at = np.arange(self.read_frames, self.read_frames + n) / self.rate_hz
        self.read_frames += n
        return (0.3 * np.sin(2 * np.pi * 440 * at)).astype(np.float32)[:, None]

    async def aclose(self) -> None:
        self.closed += 1


async def test_a_source_that_cannot_start_fails_the_connect_with_its_own_words(
    realtime_server: RealtimeServer,
) -> None:
    transport = WebRTCTransport(StartedSource(fail=True), base_url=realtime_server.url)
    with pytest.raises(OSError, match="the microphone is on fire"):
        await transport.connect(api_key="test-key")
    assert transport.status == "disconnected"
    assert await other_tasks() - {t for t in asyncio.all_tasks() if "server" in t.get_name()} == set()


async def test_until_the_session_is_ready_only_silence_leaves_and_the_source_is_not_read() -> None:
    source = StartedSource()
    async with RealtimeServer(faults=Faults(no_acknowledgement=True)) as server:
        transport = WebRTCTransport(source, base_url=server.url)
        with pytest.raises(ConnectTimeout):
            await transport.connect(api_key="test-key", timeout_seconds=1)
        (call,) = server.calls.values()
        heard = call.heard()
    assert (source.started, source.read_frames, source.closed) == (1, 0, 1)
    assert len(heard) > 0.2 * 24000  # silence did come
    assert level_dbfs(heard) < -60


async def test_sends_while_connecting_go_out_behind_the_configuration(
    realtime_server: RealtimeServer,
) -> None:
    async with WebRTCTransport(base_url=realtime_server.url) as transport:
        attempt = asyncio.create_task(transport.connect(api_key="test-key"))
        await transport.wait_for("connection_change", lambda event: event.status == "connecting", timeout=5)
        transport.send_message("Hello!")
        await attempt
        await transport.drain()
        kinds = [event["type"] for event in sent_by_client(call_of(realtime_server, transport))]
        assert kinds == ["session.update", "conversation.item.create", "response.create"]


async def test_a_failed_connect_reports_the_events_it_discards_once() -> None:
    errors = list[str]()
    async with RealtimeServer(faults=Faults(never_answer=True)) as server:
        transport = WebRTCTransport(base_url=server.url)
        transport.on("error", lambda event: errors.append(event.message))
        attempt = asyncio.create_task(transport.connect(api_key="test-key", timeout_seconds=0.5))
        await asyncio.sleep(0.1)
        transport.send_message("Hello!")
        transport.send_message("Again!", trigger_response=False)
        with pytest.raises(ConnectTimeout):
            await attempt
    assert len(errors) == 1
    assert "3 queued events discarded" in errors[0]
