"""Issue 3, rules: responses are asked for one at a time, and everybody learns what became of their request."""

import asyncio
import json
import random
from typing import Any
from unittest.mock import patch

import pytest

from rtc_transport import NotConnectedError, RealtimeServer, ResponseFailed, WebRTCTransport
from rtc_transport.events.responses import Response
from rtc_transport.protocol.core import Conversation
from support.rules import LONG, by_another_client, check_law, deaf_to, scripted, sent, speak, voice, wire
from support.transports import call_of, connected, eventually

WRITTEN = {"output_modalities": ["text"]}
ACTIVE = "conversation_already_has_active_response"


async def test_a_storm_of_requests_never_has_two_under_way() -> None:
    generator = random.Random(11)
    async with (
        scripted(*[{"text": "Yes."}] * 100) as server,
        connected(server, session=WRITTEN) as transport,
    ):
        handles = []
        for number in range(40):
            match generator.randrange(4):
                case 0:
                    transport.send_message(f"message {number}")
                case 1:
                    handles.append(transport.request_response({"metadata": {"number": str(number)}}))
                case 2:
                    handles.append(transport.request_response())
                case _:
                    await asyncio.sleep(generator.random() / 20)
        async with asyncio.timeout(15):
            responses = await asyncio.gather(*handles)
        call = call_of(server, transport)
        check_law(call)
        assert {response.status for response in responses} == {"completed"}
        assert "error" not in [event["type"] for _, event in wire(call, "error")]


async def test_automatic_requests_merge_explicit_ones_never_and_the_order_is_strict() -> None:
    async with scripted(*[{"text": "Yes."}] * 9) as server, connected(server, session=WRITTEN) as transport:
        handles = [transport.request_response()]
        await transport.wait_for("turn_started", timeout=5)
        for name in ("a", "b"):
            handles += [transport.request_response() for _ in range(3)]
            handles.append(transport.request_response({"metadata": {"name": name}}))
            handles.append(transport.request_response({"metadata": {"name": name * 2}}))
        async with asyncio.timeout(15):
            responses: list[Response] = await asyncio.gather(*handles)
        creates = await sent(transport, call_of(server, transport), "response.create")
    names = [create["response"]["metadata"].get("name") for create in creates]
    assert names == [None, None, "a", "aa", None, "b", "bb"]
    assert len({response.id for response in responses}) == 7
    merged = [response.id for response in responses[1:4]]
    assert len(set(merged)) == 1
    assert [(r.metadata or {}).get("name") for r in responses[4:6]] == ["a", "aa"]


async def test_a_request_made_by_a_handler_of_turn_started_waits_for_the_end_of_that_turn() -> None:
    async with scripted({"text": "One."}, {"text": "Two."}) as server, connected(server) as transport:
        transport.once("turn_started", lambda _: transport.request_response({"metadata": {"n": "2"}}))
        transport.request_response({"metadata": {"n": "1"}})
        for _ in range(2):
            await transport.wait_for("turn_done", timeout=10)
        check_law(call_of(server, transport))


async def test_a_refused_request_is_told_to_who_made_it_and_the_next_one_goes_out(
    realtime_server: RealtimeServer,
) -> None:
    async with connected(realtime_server) as transport:
        errors = list[Any]()
        transport.on("error", errors.append)
        refused = transport.request_response({"output_modalities": ["smell"]})
        fine = transport.request_response({"metadata": {"n": "2"}})
        with pytest.raises(ResponseFailed, match="output_modalities") as caught:
            await refused.result(timeout=5)
        assert caught.value.code == "invalid_value"
        assert (await fine.result(timeout=10)).status == "completed"
        (create, _) = await sent(transport, call_of(realtime_server, transport), "response.create")
        (error,) = errors
        assert (error.source, error.code, error.event_id) == ("server", "invalid_value", create["event_id"])


async def test_a_refusal_that_names_no_event_frees_the_slot_too(realtime_server: RealtimeServer) -> None:
    async with connected(realtime_server) as transport:
        call = call_of(realtime_server, transport)
        with deaf_to(call, "response.create"):
            handle = transport.request_response()
            await call.wait_for("response.create", "client")
            error = {"code": "bad_response_create", "message": "No.", "type": "invalid_request_error"}
            call.inject({"type": "error", "error": error})
            with pytest.raises(ResponseFailed, match=r"No\."):
                await handle.result(timeout=3)
        assert (await transport.request_response().result(timeout=10)).status == "completed"


async def test_a_request_that_crosses_anothers_response_is_sent_again_behind_it() -> None:
    async with scripted({"text": "For them."}, {"text": "For us."}) as server, connected(server) as transport:
        call, errors = call_of(server, transport), list[Any]()
        transport.on("error", errors.append)
        by_another_client(call, "response.create", response=WRITTEN)
        handle = transport.request_response(WRITTEN)  # their `response.created` is still on its way
        response = await handle.result(timeout=10)
        assert response.output[0].content[0].text == "For us."
        creates = await sent(transport, call, "response.create")
        assert creates[0] == creates[1]
        log = [(who, e["type"]) for who, e in wire(call, "response.create", "response.done", "error")]
        assert log == [
            *(("client", "response.create"), ("server", "error")),
            *(("server", "response.done"), ("client", "response.create"), ("server", "response.done")),
        ]
        assert errors == []  # it was settled


async def test_it_is_sent_again_three_times_at_most(realtime_server: RealtimeServer) -> None:
    async with connected(realtime_server) as transport:
        call = call_of(realtime_server, transport)
        with deaf_to(call, "response.create", times=4):
            handle = transport.request_response()
            for count in range(1, 5):
                create = await call.wait_for("response.create", "client", count=count)
                error = {"code": ACTIVE, "message": "Busy.", "event_id": create["event_id"], "type": "x"}
                call.inject({"type": "error", "error": error})
                call.inject({"type": "response.done", "response": {"id": f"theirs_{count}"}})
            with pytest.raises(ResponseFailed, match=r"Busy\."):
                await handle.result(timeout=5)
        assert len(await sent(transport, call, "response.create")) == 4


async def test_an_answer_to_the_user_is_not_taken_for_ours() -> None:
    """The service starts a response of its own when the user's turn ends, while our request is on its way."""
    source, turns = voice(), [{"when": "hello", "heard": "Hello.", "text": "To them."}, {"text": "To us."}]
    async with scripted(*turns) as server, connected(server, source=source) as transport:
        speak(source)
        await transport.wait_for("input_audio_buffer.committed", timeout=10)
        handle = transport.request_response(WRITTEN)  # crosses the `response.created` of the other
        response = await handle.result(timeout=10)
        assert response.output[0].content[0].text == "To us."


async def test_a_lost_answer_frees_the_slot_after_a_time_and_is_reported(
    realtime_server: RealtimeServer,
) -> None:
    with patch("rtc_transport.shell.Conversation", lambda **_: Conversation(answer_seconds=0.3)):
        transport = WebRTCTransport(base_url=realtime_server.url)
    async with transport:
        await transport.connect(api_key="key")
        errors = list[str]()
        transport.on("error", lambda error: errors.append(error.message))
        with deaf_to(call_of(realtime_server, transport), "response.create"):
            lost, next_one = transport.request_response({}), transport.request_response({})
            with pytest.raises(ResponseFailed, match=r"not answered within 0\.3 s"):
                await lost.result(timeout=5)
            assert (await next_one.result(timeout=10)).status == "completed"
        assert errors == ["response.create was not answered within 0.3 s"]


async def test_ten_thousand_queued_requests_leave_nobody_behind(realtime_server: RealtimeServer) -> None:
    async with connected(realtime_server) as transport:
        handles = [transport.request_response() for _ in range(10_000)]
        async with asyncio.timeout(15):
            responses = await asyncio.gather(*handles)
        assert len({response.id for response in responses}) == 2  # the first went out before the others came
        assert transport._handles == {}
        assert transport._core._sequencer.waiters == ()
        assert len(await sent(transport, call_of(realtime_server, transport), "response.create")) == 2


async def test_only_what_runs_is_cancelled_and_once() -> None:
    async with scripted({"text": LONG}, {"text": "Short."}) as server, connected(server) as transport:
        call = call_of(server, transport)
        handle = transport.request_response()
        await transport.wait_for("output_audio_buffer.started", timeout=5)
        for _ in range(3):
            transport.interrupt()
            handle.cancel()
        assert (await handle.result(timeout=5)).status == "cancelled"
        done = await transport.request_response(WRITTEN).result(timeout=5)
        transport.interrupt()  # nothing runs any more
        (cancel,) = await sent(transport, call, "response.cancel")
        assert cancel["response_id"] == (await handle).id != done.id
        assert len(await sent(transport, call, "output_audio_buffer.clear")) == 4
        assert wire(call, "error") == []


async def test_a_handle_cancelled_before_its_response_starts_cancels_it_then() -> None:
    async with scripted({"text": LONG}) as server, connected(server) as transport:
        handle = transport.request_response()
        handle.cancel()
        handle.cancel()
        assert (await handle.result(timeout=5)).status == "cancelled"
        assert len(await sent(transport, call_of(server, transport), "response.cancel")) == 1


async def test_a_close_rejects_who_waits_and_an_ignored_handle_warns_nobody(
    realtime_server: RealtimeServer,
) -> None:
    async with connected(realtime_server) as transport:
        handles = [transport.request_response({}) for _ in range(3)]
        waiting = asyncio.gather(*[handle.result() for handle in handles[:2]], return_exceptions=True)
        await transport.close()
        assert {type(outcome) for outcome in await waiting} == {NotConnectedError}


async def test_every_id_we_make_is_one_the_service_takes(realtime_server: RealtimeServer) -> None:
    async with connected(realtime_server) as transport:
        transport.send_message("Hello")
        await transport.wait_for("output_audio_buffer.started", timeout=5)
        transport.interrupt(truncate=True)
        message = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "x"}]}
        transport.reset_history([], [message])  # type: ignore[list-item]  # the wire form
        transport.update_session_config({"instructions": "x"})
        call = call_of(realtime_server, transport)
        await eventually(lambda: len(wire(call, "session.updated")) == 2)
        events = [dict(logged.event) for logged in call.events if logged.sender == "client"]
    made = [event["event_id"] for event in events if "event_id" in event]
    made += [event["item"]["id"] for event in events if "id" in event.get("item", {})]
    made += [tag for e in events for tag in (e.get("response") or {}).get("metadata", {}).values()]
    assert len(made) >= 6
    assert all(len(each) <= 32 and each.isascii() for each in made)
    assert len(set(made)) == len(made)


async def test_the_server_refuses_longer_item_ids(realtime_server: RealtimeServer) -> None:
    async with connected(realtime_server) as transport:
        errors = asyncio.create_task(transport.wait_for("error", timeout=5))
        await asyncio.sleep(0)
        item = {"type": "message", "id": "i" * 33, "role": "user", "content": []}
        transport.send_event({"type": "conversation.item.create", "event_id": "mine", "item": item})
        error = await errors
        assert (error.code, error.event_id) == ("string_above_max_length", "mine")
        assert "maximum length 32" in error.message
        assert json.dumps(error.event)
