"""Issue 3, the embedded server keeps pace: its errors, transcripts, usage, limits and end reach the application."""

import asyncio
import time
from dataclasses import replace
from typing import Any

import pytest

from rtc_transport import RealtimeServer, WebRTCTransport
from support.rules import LONG, Told, scripted, sent, wire
from support.transports import call_of, connected

MINE = {"event_id": "mine"}
TRUNCATE = {"type": "conversation.item.truncate", "content_index": 0, "audio_end_ms": 10}


@pytest.mark.parametrize(
    ("event", "code", "text"),
    [
        ({"type": "conversation.item.delete", "item_id": "no"}, "item_delete_invalid_item_id", "'no'"),
        ({"type": "conversation.item.retrieve", "item_id": "no"}, "item_retrieve_invalid_item_id", "'no'"),
        ({**TRUNCATE, "item_id": "no"}, "item_truncate_invalid_item_id", "'no' does not exist"),
        ({"type": "input_audio_buffer.commit"}, "input_audio_buffer_commit_empty", "only has 0.00ms"),
        ({"type": "session.update", "session": {"type": "realtime", "x": 1}}, "unknown_parameter", "x"),
        ({"type": "response.cancel"}, "response_cancel_not_active", "no active response"),
        ({"type": "nonsense"}, "invalid_value", "Supported values are: 'session.update'"),
        ({"type": "conversation.item.create"}, "missing_required_parameter", "item"),
    ],
    ids=lambda value: value["type"] if isinstance(value, dict) else "",
)
async def test_an_error_of_the_service_names_the_event_and_the_call_goes_on(
    event: dict[str, Any], code: str, text: str
) -> None:
    silent = {"audio": {"input": {"turn_detection": None}}}
    async with RealtimeServer(pause=True) as server, connected(server, session=silent) as transport:
        told = Told(transport, ["error"])
        if event["type"] == "input_audio_buffer.commit":  # the track's silence is in the buffer
            transport.send_event({"type": "input_audio_buffer.clear"})
        transport.send_event({**event, **MINE})
        await call_of(server, transport).wait_for("error")
        assert (await transport.request_response().result(timeout=10)).status == "completed"
        (error,) = told.of("error")
        assert (error.source, error.code, error.event_id) == ("server", code, "mine")
        assert text in error.message
        assert error.event["error"]["type"] == "invalid_request_error"


async def test_a_second_response_while_one_runs_is_refused_by_the_service() -> None:
    async with scripted({"text": LONG}) as server, connected(server) as transport:
        told = Told(transport, ["error"])
        transport.request_response()
        await transport.wait_for("turn_started", timeout=5)
        assert transport._call is not None
        assert transport._call.peer.channel is not None
        transport._call.peer.channel.send(
            '{"type":"response.create","event_id":"mine"}'
        )  # past the sequencer
        await call_of(server, transport).wait_for("error")
        await asyncio.sleep(0.1)
        (error,) = told.of("error")
        assert (error.code, error.event_id) == ("conversation_already_has_active_response", "mine")


async def test_an_oversized_event_is_refused_by_the_service_too(realtime_server: RealtimeServer) -> None:
    async with connected(realtime_server) as transport:
        session = call_of(realtime_server, transport)._session
        assert session is not None
        session._options = replace(session._options, max_event_bytes=1000)  # less than its SDP allowed
        errors = asyncio.create_task(transport.wait_for("error", timeout=10))
        await asyncio.sleep(0)
        transport.send_message("x" * 2000, {"event_id": "mine"}, trigger_response=False)
        error = await errors
        assert (error.code, error.event_id) == ("event_too_large", "mine")
        assert "at most 1000 are allowed" in error.message
        assert transport.status == "connected"


async def test_usage_and_rate_limits_come_with_every_response() -> None:
    async with scripted({"text": "One."}, {"text": "Two."}) as server, connected(server) as transport:
        told = Told(transport, ["usage_update", "rate_limits.updated"])
        for _ in range(2):
            transport.send_message("Next")
            await transport.wait_for("turn_done", timeout=10)
        first, second = [update.usage for update in told.of("usage_update")]
        assert second.input_tokens > first.input_tokens > 0
        assert first.total_tokens == first.input_tokens + first.output_tokens
        limits = [
            {limit.name: limit.remaining for limit in e.rate_limits} for e in told.of("rate_limits.updated")
        ]
        assert [each["requests"] for each in limits] == [999, 998]
        assert limits[1]["tokens"] < limits[0]["tokens"]


async def test_an_expiring_session_is_told_a_minute_before() -> None:
    async with RealtimeServer(max_session_seconds=61.5) as server, connected(server) as transport:
        began = time.time()
        event = await transport.wait_for("session_expiring", timeout=5)
        assert transport.session.expires_at == event.expires_at
        assert began + 60 <= event.expires_at <= began + 62
        assert 58 < event.seconds_left <= 60


async def test_an_expired_session_is_told_and_ends_the_call() -> None:
    async with RealtimeServer(max_session_seconds=1.0) as server:
        transport = WebRTCTransport(base_url=server.url)
        told = Told(transport, ["error", "disconnected"])
        await transport.connect(api_key="key")
        await transport.wait_for("disconnected", timeout=10)
        first, _ = told.of("error")
        assert (first.code, first.message) == (
            "session_expired",
            "Your session hit the maximum duration of 1 seconds.",
        )
        assert told.of("disconnected")[0].reason
        await transport.close()


async def test_a_truncation_longer_than_the_audio_is_refused_and_a_right_one_deletes_the_transcript() -> None:
    async with scripted({"text": "Good day."}) as server, connected(server) as transport:
        told, call = Told(transport, ["error", "conversation.item.truncated"]), call_of(server, transport)
        transport.send_message("Hello")
        done = await transport.wait_for("turn_done", timeout=10)
        item_id = done.output[0].id
        transport.send_event({**TRUNCATE, "item_id": item_id, "audio_end_ms": 60_000, **MINE})
        transport.send_event({**TRUNCATE, "item_id": item_id, "audio_end_ms": 500})
        transport.send_event({"type": "conversation.item.retrieve", "item_id": item_id})
        retrieved = await transport.wait_for("conversation.item.retrieved", timeout=5)
        (error,), (truncated,) = told.of("error"), told.of("conversation.item.truncated")
        assert (error.event_id, error.message) == (
            "mine",
            "Audio content of 1000ms is already shorter than 60000ms",
        )
        assert truncated.audio_end_ms == 500
        assert retrieved.item.content[0].transcript is None
        assert len(await sent(transport, call, "conversation.item.truncate")) == 2
        assert len(wire(call, "error")) == 1
