"""Issue 3, transport events: what an application is told of real conversations, and in which order."""

import asyncio
from collections import Counter
from typing import Any

import numpy as np
import pytest

from rtc_transport import RealtimeServer, WebRTCTransport
from rtc_transport.events import SERVER_EVENTS, AssistantMessage, UserMessage
from rtc_transport.events.items import FunctionCallItem
from rtc_transport.events.transport import TRANSPORT_EVENTS
from support.rules import Told, by_another_client, scripted, speak, voice
from support.transports import call_of, connected

PIXEL = "data:image/png;base64,iVBORw0KGgo="
HEARD = {"audio": {"input": {"transcription": {"model": "whisper-1"}}}}
TOOLS = {"db": [{"name": "query", "description": "Asks the database.", "input_schema": {"type": "object"}}]}


async def test_a_spoken_turn_is_told_from_the_first_word_to_the_last() -> None:
    turn = {"heard": "Hello there.", "when": "hello", "text": "Good day to you."}
    source = voice()
    async with scripted(turn) as server, WebRTCTransport(source, base_url=server.url) as transport:
        told = Told(transport, set(TRANSPORT_EVENTS) - {"input_audio", "client_event", "audio"})
        voiced = Told(transport, ["audio"])
        await transport.connect(api_key="key", session=HEARD)
        speak(source)
        await transport.wait_for("output_audio_buffer.stopped", timeout=15)
        await asyncio.sleep(0.1)
        await transport.close()

    assert [name for name in told.names() if name != "item_update"] == [
        *("connection_change", "connected"),
        *("input_speech_started", "input_speech_stopped", "input_transcript_delta", "input_transcript_done"),
        *("turn_started", "audio_transcript_delta", "audio_done", "usage_update", "turn_done"),
        *("connection_change", "disconnected"),
    ]
    (started,), (stopped,) = told.of("input_speech_started"), told.of("input_speech_stopped")
    assert stopped.audio_end_ms - started.audio_start_ms > 600
    (heard,) = told.of("input_transcript_done")
    assert (heard.transcript, heard.item_id) == ("Hello there.", started.item_id)
    (turn_started,), (done,) = told.of("turn_started"), told.of("turn_done")
    deltas = told.of("audio_transcript_delta")
    assert "".join(delta.delta for delta in deltas) == "Good day to you."
    assert {delta.response_id for delta in deltas} == {turn_started.response_id} == {done.response_id}
    assert (done.status, done.reason) == ("completed", None)
    (audio_done,), (usage,) = told.of("audio_done"), told.of("usage_update")
    assert audio_done.item_id == deltas[0].item_id == done.output[0].id
    assert usage.usage == done.usage
    assert usage.usage.total_tokens > 0
    assert isinstance(answer := done.output[0], AssistantMessage)
    assert {update.item.id for update in told.of("item_update")} == {heard.item_id, answer.id}
    assert [change.status for change in told.of("connection_change")] == [
        *("connecting", "connected", "disconnecting", "disconnected")
    ]
    pieces = [piece for piece in voiced.of("audio") if np.abs(piece.pcm).max() > 0.01]
    known = [piece for piece in pieces if piece.response_id is not None]  # sound may outrun its announcement
    assert sum(len(piece.pcm) for piece in known) > 0.9 * pieces[0].rate_hz
    assert {(piece.response_id, piece.item_id) for piece in known} == {(done.response_id, answer.id)}


async def test_a_users_transcript_comes_with_its_item() -> None:
    turn = {"heard": "Hello there.", "text": "Good day."}
    source = voice()
    async with scripted(turn) as server, connected(server, source=source, session=HEARD) as transport:
        told = Told(transport, ["item_update"])
        speak(source)
        await transport.wait_for("turn_done", timeout=10)
        users = [update.item for update in told.of("item_update") if isinstance(update.item, UserMessage)]
        assert users[-1].content[0].transcript == "Hello there."
        assert transport.history[0] == users[-1]


async def test_written_answers_come_as_text_and_not_as_audio() -> None:
    async with (
        scripted({"text": "Good day to you."}) as server,
        connected(server, session={"output_modalities": ["text"]}) as transport,
    ):
        told = Told(transport, ["output_text_delta", "audio_transcript_delta", "audio_done"])
        transport.send_message("Hello")
        await transport.wait_for("turn_done", timeout=10)
        assert "".join(delta.delta for delta in told.of("output_text_delta")) == "Good day to you."
        assert told.names() == ["output_text_delta"]


async def test_items_are_told_with_every_kind_of_content_and_their_place(
    realtime_server: RealtimeServer,
) -> None:
    async with connected(realtime_server) as transport:
        updates = transport.events("item_update")
        image = {"type": "input_image", "image_url": PIXEL}
        transport.send_message([{"type": "input_text", "text": "What is it?"}, image], trigger_response=False)
        call = {"type": "function_call", "call_id": "c", "name": "look", "arguments": "{}"}
        transport.send_event({"type": "conversation.item.create", "item": call})
        async with asyncio.timeout(5):
            added = [
                await anext(updates) for _ in range(4)
            ]  # each is told when it is added and when it is done
            message, function = added[1], added[3]
            assert [part.type for part in message.item.content] == ["input_text", "input_image"]
            assert message.item.content[1].image_url == PIXEL
            assert message.previous_item_id is None
            assert "previous_item_id" in message.model_fields_set  # null is the first place
            assert isinstance(function.item, FunctionCallItem)
            assert function.previous_item_id == message.item.id

        deleted = transport.events("item_deleted")
        transport.send_event({"type": "conversation.item.delete", "item_id": message.item.id})
        async with asyncio.timeout(5):
            assert (await anext(deleted)).item_id == message.item.id
        assert [item.id for item in transport.history] == [function.item.id]


async def test_mcp_tools_are_listed_asked_for_approved_and_called() -> None:
    query = {"server_label": "db", "name": "query", "arguments": {"sql": "select 1"}, "output": "1 row"}
    tool = {"type": "mcp", "server_label": "db", "server_url": "https://db.invalid"}
    async with (
        scripted({"mcp_call": {**query, "require_approval": True}}, {"text": "One."}, mcp=TOOLS) as server,
        connected(server) as transport,
    ):
        told = Told(transport, ["mcp_tools_listed", "mcp_approval_request", "mcp_tool_call_completed"])
        transport.update_session_config({"tools": [tool]})
        listed = await transport.wait_for("mcp_tools_listed", timeout=5)
        assert (listed.server_label, [tool.name for tool in listed.tools]) == ("db", ["query"])
        transport.send_message("How many rows?")
        request = await transport.wait_for("mcp_approval_request", timeout=5)
        assert (request.server_label, request.name, request.arguments) == (
            "db",
            "query",
            '{"sql": "select 1"}',
        )
        transport.send_mcp_response(request, approved=True)
        completed = await transport.wait_for("mcp_tool_call_completed", timeout=5)
        assert (completed.item.name, completed.item.output) == ("query", "1 row")
        assert completed.item.approval_request_id == request.item_id
        assert told.names() == ["mcp_tools_listed", "mcp_approval_request", "mcp_tool_call_completed"]


async def test_every_server_event_comes_under_its_own_name_and_the_star() -> None:
    turns: list[dict[str, Any]] = [{"text": "Good day."}, {"function_call": {"name": "f"}}]
    async with scripted(*turns) as server, connected(server) as transport:
        call = call_of(server, transport)
        stars, named = Counter[str](), Told(transport, set(SERVER_EVENTS) - {"error"})
        transport.on("*", lambda event: stars.update([event.type]))
        already = Counter(str(e.event["type"]) for e in call.events if e.sender == "server")
        for _ in range(2):
            transport.send_message("Hello")
            await transport.wait_for("turn_done", timeout=10)
        await transport.wait_for("output_audio_buffer.stopped", timeout=10)
        sent = Counter(str(e.event["type"]) for e in call.events if e.sender == "server") - already
        assert stars == sent
        assert Counter(name for name, _ in named.events) == sent
        assert len(sent) > 15


async def test_an_unknown_event_keeps_all_it_has_and_a_misfit_says_why(
    realtime_server: RealtimeServer,
) -> None:
    async with connected(realtime_server) as transport:
        call = call_of(realtime_server, transport)
        stars = transport.events("*")
        novel = {"type": "weather.changed", "event_id": "e1", "to": {"rain": [1, None]}}
        misfit = {"type": "response.output_text.delta", "event_id": "e2", "delta": 7}
        named = asyncio.create_task(transport.wait_for("weather.changed", timeout=5))
        await asyncio.sleep(0)
        call.inject(novel)
        call.inject(misfit)
        async with asyncio.timeout(5):
            first, second = await anext(stars), await anext(stars)
        assert first.raw == (await named).raw == novel
        assert first.reason is None
        assert second.raw == misfit
        assert "delta" in second.reason


async def test_a_response_of_another_client_is_told_like_ours(realtime_server: RealtimeServer) -> None:
    async with connected(realtime_server) as transport:
        by_another_client(call_of(realtime_server, transport), "response.create")
        done = await transport.wait_for("turn_done", timeout=10)
        assert done.status == "completed"


@pytest.mark.parametrize(
    ("response", "status", "reason"),
    [({"max_output_tokens": 3}, "incomplete", "max_output_tokens"), ({}, "failed", None)],
)
async def test_a_turn_says_how_and_why_it_ended(
    response: dict[str, Any], status: str, reason: str | None
) -> None:
    turn: dict[str, Any] = {"text": "A rather long answer."}
    failure = {"error": {"code": "server_error", "message": "No more."}}
    async with scripted(turn if response else failure) as server, connected(server) as transport:
        transport.request_response(response)
        done = await transport.wait_for("turn_done", timeout=10)
        assert (done.status, done.reason) == (status, reason)
