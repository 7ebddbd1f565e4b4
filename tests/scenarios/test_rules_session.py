"""Issue 3, rules: the session's configuration, partial, checked here and at the service in the same way."""

import asyncio
import json
from collections.abc import Mapping
from typing import Any

import pytest

from rtc_transport import ConfigError, RealtimeServer, SessionConfig, WebRTCTransport
from rtc_transport.events import to_wire
from rtc_transport.events.transport import Mismatch
from support.rules import Told, scripted, sent, wire
from support.transports import call_of, connected

FUNCTION = {"type": "function", "name": "look", "description": "Looks.", "parameters": {"type": "object"}}
MCP = {
    "type": "mcp",
    "server_label": "db",
    "server_url": "https://db.invalid",
    "authorization": "secret-token",
    "require_approval": "never",
}


async def acknowledged(transport: WebRTCTransport, config: SessionConfig | Mapping[str, Any]) -> Any:
    """Updates and gives the session as the service then has it."""
    waiting = asyncio.create_task(transport.wait_for("session.updated", timeout=5))
    await asyncio.sleep(0)
    transport.update_session_config(config)
    return (await waiting).session


@pytest.mark.parametrize(
    "fields",
    [
        {"audio": {"input": {"turn_detection": {"type": "server_vad", "threshold": 0.7}}}},
        {"audio": {"input": {"turn_detection": {"type": "semantic_vad", "eagerness": "low"}}}},
        {"audio": {"input": {"turn_detection": None}}},
        {"audio": {"output": {"voice": "marin", "speed": 1.2}}},
        {"prompt": {"id": "pmpt_1", "variables": {"name": "Ann"}}},
        {"reasoning": {"effort": "low"}},
        {"tools": [FUNCTION], "tool_choice": {"type": "function", "name": "look"}},
        {"tools": [MCP]},
        {"tracing": {"workflow_name": "test"}},
        {"output_modalities": ["text"], "max_output_tokens": 100, "truncation": "disabled"},
    ],
    ids=lambda fields: json.dumps(fields)[:40],
)
async def test_an_update_carries_what_was_given_and_nothing_else(
    realtime_server: RealtimeServer, fields: dict[str, Any]
) -> None:
    async with connected(realtime_server) as transport:
        told = Told(transport, ["session_update_mismatch", "error"])
        session = await acknowledged(transport, fields)
        _, update = await sent(transport, call_of(realtime_server, transport), "session.update")
        assert update["session"] == {"type": "realtime", **fields}
        for name, value in fields.items():
            assert _holds(value, to_wire(session)[name])
        assert told.events == []


def _holds(wanted: Any, got: Any) -> bool:
    """Whether `got` has all that `wanted` has."""
    if isinstance(wanted, dict) and isinstance(got, dict):
        return all(name in got and _holds(value, got[name]) for name, value in wanted.items())
    if isinstance(wanted, list) and isinstance(got, list):
        return len(wanted) == len(got) and all(map(_holds, wanted, got))
    return bool(wanted == got)


async def test_tools_can_be_set_and_cleared_and_the_rest_stays(realtime_server: RealtimeServer) -> None:
    async with connected(
        realtime_server, session={"tools": [FUNCTION], "instructions": "Be brief."}
    ) as transport:
        session = await acknowledged(transport, {"tools": []})
        assert list(session.tools) == []
        assert transport.session.instructions == "Be brief."


async def test_the_javascript_defaults_are_taken_as_they_are(realtime_server: RealtimeServer) -> None:
    async with WebRTCTransport(base_url=realtime_server.url) as transport:
        await transport.connect(api_key="key", session=SessionConfig.agents_js(instructions="Be brief."))
        (update,) = await sent(transport, call_of(realtime_server, transport), "session.update")
        assert update["session"]["audio"]["input"]["turn_detection"] == {"type": "semantic_vad"}
        assert "model" not in update["session"]
        assert transport.session.audio.input.transcription.model == "gpt-4o-mini-transcribe"


async def test_flat_names_are_accepted_with_a_warning_and_travel_in_their_new_places(
    realtime_server: RealtimeServer,
) -> None:
    async with connected(realtime_server) as transport:
        with pytest.warns(DeprecationWarning, match=r"session\.voice is now session\.audio\.output\.voice"):
            session = await acknowledged(transport, {"voice": "marin"})
        assert session.audio.output.voice == "marin"
        _, update = await sent(transport, call_of(realtime_server, transport), "session.update")
        assert update["session"] == {"type": "realtime", "audio": {"output": {"voice": "marin"}}}


@pytest.mark.parametrize(
    ("first", "change", "here", "there"),
    [
        ({}, {"model": "another"}, "session.model cannot change", "cannot_update_model"),
        (
            {"tracing": "auto"},
            {"tracing": {"workflow_name": "x"}},
            "session.tracing cannot change once it is enabled",
            "cannot_update_tracing",
        ),
        (
            {"audio": {"output": {"voice": "ash"}}},
            {"audio": {"output": {"voice": "marin"}}},
            "session.audio.output.voice cannot change after the model has spoken",
            "cannot_update_voice",
        ),
        (
            {},
            {"audio": {"output": {"speed": 9}}},
            r"session.audio.output.speed must be between 0.25 and 1.5",
            "invalid_value",
        ),
    ],
    ids=["model", "tracing", "voice", "speed"],
)
async def test_what_cannot_change_is_refused_here_and_in_the_same_way_there(
    first: dict[str, Any], change: dict[str, Any], here: str, there: str
) -> None:
    async with scripted({"text": "Hello."}) as server, connected(server, session=first) as transport:
        transport.send_message("Hi")
        await transport.wait_for("output_audio_buffer.stopped", timeout=10)
        with pytest.raises(ConfigError, match=here):
            transport.update_session_config(change)
        errors = asyncio.create_task(transport.wait_for("error", timeout=5))
        await asyncio.sleep(0)
        raw = {"type": "session.update", "event_id": "raw", "session": {"type": "realtime", **change}}
        transport.send_event(raw)
        error = await errors
        assert (error.code, error.event_id) == (there, "raw")
        assert (
            len(await sent(transport, call_of(server, transport), "session.update")) == 2
        )  # and the raw one


async def test_the_voice_may_change_until_the_model_has_spoken(realtime_server: RealtimeServer) -> None:
    async with connected(realtime_server) as transport:
        session = await acknowledged(transport, {"audio": {"output": {"voice": "marin"}}})
        assert session.audio.output.voice == "marin"


async def test_fields_that_the_service_changed_or_ignored_are_reported(
    realtime_server: RealtimeServer,
) -> None:
    async with connected(realtime_server) as transport:
        call = call_of(realtime_server, transport)
        told = Told(transport, ["session_update_mismatch"])
        session = call._session
        assert session is not None
        stock = session._update

        def update(event: dict[str, Any], now: float) -> None:
            event["session"]["instructions"] = "What we like."
            del event["session"]["max_output_tokens"]
            stock(event, now)

        session._commands = {**session._commands, "session.update": update}
        await acknowledged(transport, {"instructions": "Be brief.", "max_output_tokens": 7, "tools": []})
        await asyncio.sleep(0)
        (report,) = told.of("session_update_mismatch")
        assert list(report.fields) == [
            Mismatch("instructions", "Be brief.", "What we like."),
            Mismatch("max_output_tokens", 7, "inf"),
        ]


async def test_one_update_opens_the_session_whatever_is_queued(realtime_server: RealtimeServer) -> None:
    transport = WebRTCTransport(base_url=realtime_server.url)
    async with transport:
        attempt = asyncio.create_task(transport.connect(api_key="key", session={"instructions": "A"}))
        await transport.wait_for("connection_change", timeout=5)
        transport.update_session_config({"instructions": "B"})
        await attempt
        await transport.drain()
        call = call_of(realtime_server, transport)
        types = [e["type"] for who, e in wire(call, "session.update", "session.updated") if who == "client"]
        assert len(types) == 2
        first, second = await sent(transport, call, "session.update")
        assert (first["session"]["instructions"], second["session"]["instructions"]) == ("A", "B")
        assert first["event_id"] != second["event_id"]
