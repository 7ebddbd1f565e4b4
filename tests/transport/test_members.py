"""Every member of `RealtimeTransportLayer`, over real WebRTC against the embedded server."""

import asyncio
import base64
import inspect
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rtc_transport import (
    ConfigError,
    EventTooLarge,
    HistoryError,
    NotConnectedError,
    RealtimeServer,
    RealtimeTransportLayer,
    ResponseFailed,
    SendQueueFull,
    WaitTimeout,
    WebRTCTransport,
)
from rtc_transport.events import McpApprovalRequestItem, UserMessage
from support.transports import call_of, connected, sent_by_client

PIXEL = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAA"
    "AABJRU5ErkJggg=="
)


def script(tmp_path: Path, *turns: Mapping[str, Any]) -> Path:
    path = tmp_path / "script.json"
    path.write_text(json.dumps({"turns": turns}))
    return path


async def sent(server: RealtimeServer, transport: WebRTCTransport) -> list[dict[str, Any]]:
    """What has reached the server, behind the opening `session.update`."""
    await transport.drain()
    return sent_by_client(call_of(server, transport))[1:]


def test_the_transport_implements_the_whole_interface_and_every_member_is_documented() -> None:
    assert not inspect.isabstract(WebRTCTransport)
    for name in RealtimeTransportLayer.__abstractmethods__:
        assert inspect.getdoc(getattr(WebRTCTransport, name)), name


async def test_send_event_takes_models_and_mappings(realtime_server: RealtimeServer) -> None:
    async with connected(realtime_server) as transport:
        transport.send_event({"type": "input_audio_buffer.clear", "event_id": "mine"})
        await transport.wait_for("input_audio_buffer.cleared", timeout=5)
        assert await sent(realtime_server, transport) == [
            {"type": "input_audio_buffer.clear", "event_id": "mine"}
        ]


@pytest.mark.parametrize(
    ("message", "content"),
    [
        ("Hello!", [{"type": "input_text", "text": "Hello!"}]),
        (
            [{"type": "input_text", "text": "What is this?"}, {"type": "input_image", "image_url": PIXEL}],
            [{"type": "input_text", "text": "What is this?"}, {"type": "input_image", "image_url": PIXEL}],
        ),
    ],
)
async def test_send_message_adds_an_item_and_asks_for_a_response(
    realtime_server: RealtimeServer, message: Any, content: list[dict[str, str]]
) -> None:
    async with connected(realtime_server) as transport:
        transport.send_message(message, {"event_id": "mine"})
        await transport.wait_for("turn_started", timeout=5)
        create, response = await sent(realtime_server, transport)
        assert create["type"] == "conversation.item.create"
        assert create["event_id"] == "mine"
        assert create["item"]["content"] == content
        assert response["type"] == "response.create"
        done = await transport.wait_for("turn_done", timeout=10)
        assert (done.status, done.reason) == ("completed", None)


async def test_send_message_without_a_response_and_add_image(realtime_server: RealtimeServer) -> None:
    async with connected(realtime_server) as transport:
        updates = transport.events("item_update")
        transport.send_message("Look:", trigger_response=False)
        transport.add_image(PIXEL, trigger_response=False)
        async with asyncio.timeout(5):
            items = [(await anext(updates)).item for _ in range(2)]
        kinds = [event["type"] for event in await sent(realtime_server, transport)]
        assert kinds == ["conversation.item.create"] * 2
        assert {part.type for item in items for part in item.content} >= {"input_text"}


async def test_send_audio_appends_and_commits(realtime_server: RealtimeServer) -> None:
    pcm = (8000 * np.sin(np.arange(24000) / 10)).astype("<i2").tobytes()
    async with connected(realtime_server) as transport:
        transport.send_audio(pcm, commit=True)
        await transport.wait_for("input_audio_buffer.committed", timeout=5)
        *appends, commit = await sent(realtime_server, transport)
        assert commit["type"] == "input_audio_buffer.commit"
        assert b"".join(base64.b64decode(event["audio"]) for event in appends) == pcm
        assert max(len(json.dumps(event, separators=(",", ":"))) for event in appends) <= 16 * 1024
        with pytest.raises(ValueError, match="3 bytes of audio are no whole number of 16-bit samples"):
            transport.send_audio(b"abc")


async def test_a_function_call_is_told_and_answered(tmp_path: Path) -> None:
    turn = {"function_call": {"name": "weather", "arguments": {"city": "Paris"}}}
    async with (
        RealtimeServer(reply=script(tmp_path, turn)) as server,
        connected(server) as transport,
    ):
        transport.send_message("How is the weather?")
        call = await transport.wait_for("function_call", timeout=10)
        assert (call.name, json.loads(call.arguments)) == ("weather", {"city": "Paris"})
        transport.send_function_call_output(call, "sunny")
        await transport.wait_for("turn_done", timeout=10)
        events = await sent(server, transport)
        assert [e["type"] for e in events[-2:]] == ["conversation.item.create", "response.create"]
        assert events[-2]["item"]["type"] == "function_call_output"
        assert (events[-2]["item"]["call_id"], events[-2]["item"]["output"]) == (call.call_id, "sunny")


async def test_update_session_config_is_partial_and_null_is_not_unset(
    realtime_server: RealtimeServer,
) -> None:
    async with connected(realtime_server, session={"instructions": "Be brief."}) as transport:
        transport.update_session_config({"audio": {"input": {"turn_detection": None}}})
        await transport.wait_for("session.updated", timeout=5)
        (update,) = await sent(realtime_server, transport)
        assert update["session"] == {"type": "realtime", "audio": {"input": {"turn_detection": None}}}
        assert transport.session.instructions == "Be brief."
        assert transport.session.audio.input.turn_detection is None
        with pytest.raises(ConfigError, match="model"):
            transport.update_session_config({"model": "another"})


async def test_reset_history_replaces_in_place(realtime_server: RealtimeServer) -> None:
    async with connected(realtime_server) as transport:
        for text in ("one", "two", "three"):
            transport.send_message(text, trigger_response=False)
        await transport.wait_for(
            "conversation.item.done", lambda event: event.item.content[0].text == "three", timeout=5
        )
        first, second, third = old = transport.history
        changed = UserMessage.model_validate(
            {"id": second.id, "role": "user", "content": [{"type": "input_text", "text": "zwei"}]}
        )
        transport.reset_history(old, [first, changed, third])
        await transport.wait_for(
            "conversation.item.done", lambda event: event.item.content[0].text == "zwei", timeout=5
        )
        users = [item for item in transport.history if isinstance(item, UserMessage)]
        assert [item.content[0].text for item in users] == ["one", "zwei", "three"]
        spoken = {
            "type": "message",
            "role": "assistant",
            "id": "a",
            "content": [{"type": "output_audio", "transcript": "Hi"}],
        }
        with pytest.raises(HistoryError, match="audio_as_text=True replays it as its transcript"):
            transport.reset_history(transport.history, [spoken])  # type: ignore[list-item]  # the wire form


async def test_request_response_gives_the_finished_response(realtime_server: RealtimeServer) -> None:
    async with connected(realtime_server) as transport:
        handle = transport.request_response({"metadata": {"topic": "demo"}})
        response = await handle.result(timeout=10)
        assert handle.done
        assert response.status == "completed"
        assert response.metadata["topic"] == "demo"
        assert (await handle).id == response.id


async def test_automatic_requests_merge_and_a_queued_one_can_be_withdrawn(
    realtime_server: RealtimeServer,
) -> None:
    async with connected(realtime_server) as transport:
        first = transport.request_response()
        merged = [transport.request_response() for _ in range(3)]
        explicit = transport.request_response({"instructions": "Never said."})
        explicit.cancel()
        with pytest.raises(ResponseFailed, match="withdrawn before it was sent"):
            await explicit
        one = await first.result(timeout=10)
        others = [await handle.result(timeout=10) for handle in merged]
        assert len({response.id for response in others}) == 1
        assert one.id != others[0].id
        creates = [e for e in await sent(realtime_server, transport) if e["type"] == "response.create"]
        assert len(creates) == 2


async def test_a_response_that_takes_too_long_for_the_caller_goes_on(realtime_server: RealtimeServer) -> None:
    async with connected(realtime_server) as transport:
        handle = transport.request_response()
        with pytest.raises(WaitTimeout, match=r"no response within 0\.01 s"):
            await handle.result(timeout=0.01)
        assert (await handle.result(timeout=10)).status == "completed"


async def test_interrupt_cancels_clears_and_tells_what_was_heard() -> None:
    async with RealtimeServer(reply="tone") as server, connected(server) as transport:
        transport.send_message("Beep!")
        await transport.wait_for("output_audio_buffer.started", timeout=5)
        await asyncio.sleep(0.4)
        interrupted = asyncio.create_task(transport.wait_for("audio_interrupted", timeout=5))
        await asyncio.sleep(0)
        transport.interrupt()
        event = await interrupted
        transport.interrupt()
        await transport.wait_for("output_audio_buffer.cleared", timeout=5)
        kinds = [e["type"] for e in await sent(server, transport)][2:]
        assert kinds.count("response.cancel") <= 1
        assert kinds.count("output_audio_buffer.clear") == 2
        assert kinds[-1] == "output_audio_buffer.clear"
        assert event.by == "user"
        assert 200 < event.audio_end_ms < 600
        assert event.item_id


async def test_an_mcp_approval_is_asked_for_and_given(realtime_server: RealtimeServer) -> None:
    async with connected(realtime_server) as transport:
        item = McpApprovalRequestItem.model_validate(
            {
                "type": "mcp_approval_request",
                "id": "mcpr_1",
                "name": "t",
                "arguments": "{}",
                "server_label": "s",
            }
        )
        asked = asyncio.create_task(transport.wait_for("mcp_approval_request", timeout=5))
        await asyncio.sleep(0)
        call_of(realtime_server, transport).inject(
            {"type": "conversation.item.done", "item": item.model_dump(mode="json", exclude_unset=True)}
        )
        request = await asked
        transport.send_mcp_response(request, True, "go on")
        (answer,) = await sent(realtime_server, transport)
        assert answer["item"]["type"] == "mcp_approval_response"
        assert answer["item"]["approval_request_id"] == "mcpr_1"
        assert (answer["item"]["approve"], answer["item"]["reason"]) == (True, "go on")


async def test_the_emitter_side(realtime_server: RealtimeServer) -> None:
    seen, stars = list[str](), list[str]()
    async with connected(realtime_server) as transport:

        @transport.on("turn_done")
        def on_turn(event: Any) -> None:
            seen.append(event.type)

        transport.on("*", lambda event: stars.append(event.type)).once(
            "turn_started", lambda _: seen.append("x")
        )
        assert transport.emit("mine", 1) is False
        async with transport.events("turn_done") as stream:
            transport.send_message("Hi")
            async with asyncio.timeout(10):
                async for event in stream:
                    assert event.type == "turn_done"
                    break
        assert seen == ["x", "turn_done"]
        assert {"response.created", "response.done"} <= set(stars)
        transport.off("turn_done", on_turn)


async def test_a_faulty_handler_is_an_error_event_and_the_call_goes_on(
    realtime_server: RealtimeServer,
) -> None:
    errors = list[str]()

    def faulty(_: object) -> None:
        raise ValueError("no good")

    async with connected(realtime_server) as transport:
        transport.on("turn_started", faulty).on("error", lambda e: errors.append(f"{e.source}: {e.message}"))
        transport.send_message("Hi")
        await transport.wait_for("turn_done", timeout=10)
        assert errors == ["handler: a handler of 'turn_started' raised ValueError: no good"]


async def test_wait_for_times_out_and_passes_on_what_the_predicate_raises(
    realtime_server: RealtimeServer,
) -> None:
    async with connected(realtime_server) as transport:
        with pytest.raises(WaitTimeout, match=r"no 'turn_done' within 0\.05 s"):
            await transport.wait_for("turn_done", timeout=0.05)

        def picky(_: object) -> bool:
            raise KeyError("what?")

        waiting = asyncio.create_task(transport.wait_for("session.updated", picky, timeout=5))
        await asyncio.sleep(0)
        transport.update_session_config({"instructions": "x"})
        with pytest.raises(KeyError, match="what"):
            await waiting


@pytest.mark.parametrize(
    "use",
    [
        lambda t: t.send_event({"type": "response.create"}),
        lambda t: t.send_message("x"),
        lambda t: t.add_image(PIXEL),
        lambda t: t.send_audio(b""),
        lambda t: t.update_session_config({}),
        lambda t: t.reset_history([], []),
        lambda t: t.request_response(),
        lambda t: t.interrupt(),
    ],
)
async def test_without_a_connection_every_send_says_so(use: Any) -> None:
    with pytest.raises(NotConnectedError, match=r"the transport is disconnected: connect\(\) first"):
        use(WebRTCTransport())


async def test_an_oversized_event_is_refused_before_the_channel_is_touched(
    realtime_server: RealtimeServer,
) -> None:
    async with connected(realtime_server) as transport:
        with pytest.raises(
            EventTooLarge, match=r"the event has 300\d{3} bytes, the peer takes 262144"
        ) as caught:
            transport.add_image("data:image/png;base64," + "A" * 300_000)
        assert caught.value.limit == 262144
        transport.send_message("still here", trigger_response=False)
        await transport.wait_for("conversation.item.done", timeout=5)


async def test_the_queue_is_bounded() -> None:
    transport = WebRTCTransport(base_url="http://127.0.0.1:9/v1")
    attempt = asyncio.create_task(transport.connect(api_key="k"))
    await transport.wait_for("connection_change", timeout=5)
    for number in range(1000):
        transport.send_event({"type": "input_audio_buffer.clear", "event_id": str(number)})
    with pytest.raises(SendQueueFull, match="1000 events"):
        transport.send_event({"type": "input_audio_buffer.clear"})
    await transport.close()
    await asyncio.gather(attempt, return_exceptions=True)
