"""Server events as transport events: the whole map, what stays raw, and what no server can do."""

import copy
import json
import random
from typing import Any

import pytest

from rtc_transport.events import SERVER_EVENTS, TRANSPORT_EVENTS, UnknownEvent
from rtc_transport.events.items import AssistantMessage, UserMessage
from rtc_transport.protocol.effects import Effect, Playback
from support.conversation import Scripted, emitted, names, outcomes

AUDIO = {"response_id": "r1", "item_id": "a", "output_index": 0, "content_index": 0}


def message(item_id: str, role: str = "user", *content: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"id": item_id, "type": "message", "role": role, "content": list(content), **fields}


def call_item(status: str | None = "completed") -> dict[str, Any]:
    item = {"id": "f", "type": "function_call", "name": "look", "arguments": '{"x":1}', "call_id": "c"}
    return item if status is None else {**item, "status": status}


def tools_item() -> dict[str, Any]:
    tools = [{"name": "find", "input_schema": {}}]
    return {"id": "m", "type": "mcp_list_tools", "server_label": "docs", "tools": tools}


def mcp_item(kind: str, **fields: Any) -> dict[str, Any]:
    return {"id": "m", "type": kind, "server_label": "docs", "name": "find", "arguments": "{}", **fields}


# a server event, the transport event it becomes, and fields of that
MAP: list[tuple[dict[str, Any], str, dict[str, Any]]] = [
    ({"type": "response.created", "response": {"id": "r1"}}, "turn_started", {"response_id": "r1"}),
    ({"type": "response.output_audio.done", **AUDIO}, "audio_done", {"response_id": "r1", "item_id": "a"}),
    (
        {"type": "response.output_audio_transcript.delta", **AUDIO, "delta": "Hi"},
        "audio_transcript_delta",
        {"delta": "Hi", "item_id": "a", "response_id": "r1"},
    ),
    (
        {"type": "response.output_text.delta", **AUDIO, "delta": "Hi"},
        "output_text_delta",
        {"delta": "Hi", "item_id": "a", "response_id": "r1"},
    ),
    ({"type": "conversation.item.deleted", "item_id": "a"}, "item_deleted", {"item_id": "a"}),
    (
        {"type": "input_audio_buffer.speech_started", "item_id": "u", "audio_start_ms": 120},
        "input_speech_started",
        {"item_id": "u", "audio_start_ms": 120},
    ),
    (
        {"type": "input_audio_buffer.speech_stopped", "item_id": "u", "audio_end_ms": 900},
        "input_speech_stopped",
        {"item_id": "u", "audio_end_ms": 900},
    ),
    (
        {"type": "conversation.item.input_audio_transcription.delta", "item_id": "u", "delta": "He"},
        "input_transcript_delta",
        {"delta": "He", "item_id": "u", "content_index": 0},
    ),
    (
        {
            "type": "conversation.item.input_audio_transcription.completed",
            "item_id": "u",
            "content_index": 0,
            "transcript": "Hello",
        },
        "input_transcript_done",
        {"transcript": "Hello", "item_id": "u"},
    ),
    (
        {"type": "conversation.item.done", "item": tools_item()},
        "mcp_tools_listed",
        {"server_label": "docs"},
    ),
    (
        {"type": "conversation.item.done", "item": mcp_item("mcp_approval_request")},
        "mcp_approval_request",
        {"item_id": "m", "server_label": "docs", "name": "find", "arguments": "{}"},
    ),
    ({"type": "conversation.item.done", "item": mcp_item("mcp_call")}, "mcp_tool_call_completed", {}),
    ({"type": "conversation.item.done", "item": mcp_item("mcp_tool_call")}, "mcp_tool_call_completed", {}),
    (
        {"type": "response.output_item.done", "response_id": "r1", "output_index": 0, "item": call_item()},
        "function_call",
        {"item_id": "f", "call_id": "c", "name": "look", "arguments": '{"x":1}', "response_id": "r1"},
    ),
    (
        {"type": "error", "error": {"type": "t", "message": "no", "code": "bad", "event_id": "mine"}},
        "error",
        {"message": "no", "code": "bad", "event_id": "mine", "source": "server"},
    ),
]


@pytest.mark.parametrize(("event", "name", "fields"), MAP, ids=[f"{e['type']}-{n}" for e, n, _ in MAP])
def test_the_map(event: dict[str, Any], name: str, fields: dict[str, Any]) -> None:
    effects = (
        Scripted()
        .connect()
        .hear(**{"kind": event["type"], **{k: v for k, v in event.items() if k != "type"}})
    )
    (payload,) = emitted(effects, name)
    assert isinstance(payload, TRANSPORT_EVENTS[name])
    assert {field: getattr(payload, field) for field in fields} == fields
    raw = [] if event["type"] == "error" else [event["type"]]
    assert names(effects)[: 1 + len(raw)] == ["*", *raw]


def test_every_server_event_comes_under_its_own_name_and_the_star() -> None:
    for kind in SERVER_EVENTS.keys() - {"error"}:
        fields: dict[str, Any] = {
            "response": {},
            "session": {},
            "item": {},
            "part": {},
            "error": {},
            "conversation": {},
        }
        fields |= {"rate_limits": []}
        words = (
            "item_id",
            "response_id",
            "call_id",
            "delta",
            "transcript",
            "text",
            "arguments",
            "name",
            "event",
            "id",
        )
        numbers = ("audio_start_ms", "audio_end_ms", "received_at", "start", "end")
        filled = {**fields, **dict.fromkeys(words, "x"), **dict.fromkeys(numbers, 1)}
        effects = Scripted().connect().hear(kind, **filled)
        assert names(effects)[:2] == ["*", kind]


def test_a_turn_ends_with_usage_status_reason_and_output() -> None:
    call = Scripted().connect()
    response = {
        "id": "r1",
        "status": "incomplete",
        "status_details": {"type": "incomplete", "reason": "max_output_tokens"},
        "output": [message("a", "assistant", {"type": "output_text", "text": "Hi"})],
        "usage": {"total_tokens": 7, "input_tokens": 4, "output_tokens": 3},
    }
    effects = call.hear("response.done", response=response)
    assert names(effects) == ["*", "response.done", "usage_update", "turn_done"]
    (usage,), (done,) = emitted(effects, "usage_update"), emitted(effects, "turn_done")
    assert usage.usage.total_tokens == 7
    assert (done.response_id, done.status, done.reason) == ("r1", "incomplete", "max_output_tokens")
    assert isinstance(done.output[0], AssistantMessage)


def test_an_item_update_has_every_kind_of_content_and_its_place() -> None:
    call = Scripted().connect()
    call.hear("conversation.item.added", item=message("first"), previous_item_id=None)
    image = {"type": "input_image", "image_url": "data:,x"}
    effects = call.hear("conversation.item.added", item=message("u", "user", image), previous_item_id="first")
    (update,) = emitted(effects, "item_update")
    assert isinstance(update.item, UserMessage)
    assert update.item.content[0].image_url == "data:,x"
    assert update.previous_item_id == "first"


def test_an_item_update_tells_first_from_unknown() -> None:
    call = Scripted().connect()
    (first,) = emitted(
        call.hear("conversation.item.added", item=message("a"), previous_item_id=None), "item_update"
    )
    assert "previous_item_id" in first.model_fields_set
    call.hear("response.created", response={"id": "r2", "conversation_id": None})
    outside = call.hear(
        "response.output_item.added", response_id="r2", output_index=0, item=message("b", "assistant")
    )
    (unknown,) = emitted(outside, "item_update")
    assert "previous_item_id" not in unknown.model_fields_set


def test_an_item_update_keeps_the_transcript_that_the_service_dropped() -> None:
    call = Scripted().connect()
    call.hear("conversation.item.added", item=message("a", "assistant"), previous_item_id=None)
    call.hear("response.output_audio_transcript.delta", **AUDIO, delta="Good day")
    effects = call.hear("conversation.item.truncated", item_id="a", content_index=0, audio_end_ms=5)
    (update,) = emitted(effects, "item_update")
    assert update.item.content[0].transcript == "Good day"
    assert call.sent() == []  # nothing is asked back


def test_a_users_transcript_updates_the_item() -> None:
    call = Scripted().connect()
    call.hear(
        "conversation.item.added", item=message("u", "user", {"type": "input_audio"}), previous_item_id=None
    )
    kind = "conversation.item.input_audio_transcription.completed"
    effects = call.hear(kind, item_id="u", content_index=0, transcript="Hello")
    (update,) = emitted(effects, "item_update")
    assert update.item.content[0].transcript == "Hello"


@pytest.mark.parametrize("status", ["completed", None])
def test_a_function_call_is_told_once_and_only_when_it_is_complete(status: str | None) -> None:
    call = Scripted().connect()

    def told(kind: str, item: dict[str, Any]) -> list[Any]:
        effects = call.hear(f"response.output_item.{kind}", response_id="r1", output_index=0, item=item)
        assert len(emitted(effects, "item_update")) == 1
        return emitted(effects, "function_call")

    assert told("added", call_item("in_progress")) == []
    assert told("done", call_item("incomplete")) == []
    assert len(told("done", call_item(status))) == 1
    assert told("done", call_item(status)) == []


def test_a_function_call_knows_the_item_before_it() -> None:
    call = Scripted().connect()
    call.hear("conversation.item.added", item=message("u"), previous_item_id=None)
    call.hear("conversation.item.added", item=call_item("in_progress"), previous_item_id="u")
    effects = call.hear("response.output_item.done", response_id="r1", output_index=0, item=call_item())
    assert emitted(effects, "function_call")[0].previous_item_id == "u"


def test_an_unknown_event_comes_raw_under_its_name_and_the_star() -> None:
    effects = Scripted().connect().hear("hologram.started", depth=3)
    assert names(effects) == ["*", "hologram.started"]
    (event,) = emitted(effects, "*")
    assert isinstance(event, UnknownEvent)
    assert event.raw["depth"] == 3


@pytest.mark.parametrize("name", ["connected", "disconnected", "audio", "source_ended", "*"])
def test_a_server_cannot_speak_in_the_name_of_the_transport(name: str) -> None:
    assert names(Scripted().connect().hear(name, status="connected")) == ["*"]


def test_a_known_event_that_does_not_fit_comes_raw_with_the_reason() -> None:
    effects = Scripted().connect().hear("response.output_text.delta", **{**AUDIO, "delta": 5})
    assert names(effects) == ["*"]
    (event,) = emitted(effects, "*")
    assert event.reason == "delta: Input should be a valid string"
    assert event.raw["delta"] == 5


def test_an_end_that_does_not_fit_still_ends_the_response() -> None:
    call = Scripted().connect()
    call.respond("r1")
    call.hear("response.done", response={"id": "r1", "status": 5, "output": "x"})
    assert not call.core.response_active


def test_an_error_without_a_message_is_still_one() -> None:
    (report,) = emitted(Scripted().connect().hear("error"), "error")
    assert report.message == "the service reported an error without a message"


def test_nothing_grows_with_responses_that_never_end() -> None:
    call = Scripted().connect()
    waiter, _ = call.core.request_response()
    call.respond("ours", create=call.sent()[0])
    for number in range(1000):
        response_id = f"r{number}"
        call.hear("response.created", response={"id": response_id, "conversation_id": None})
        call.hear("output_audio_buffer.started", response_id=response_id)
        call.hear("output_audio_buffer.cleared", response_id=response_id)
        item = {**call_item(), "id": response_id, "call_id": response_id}
        call.hear("response.output_item.done", response_id=response_id, output_index=0, item=item)
        call.hear(
            "response.output_audio_transcript.delta", **{**AUDIO, "response_id": response_id}, delta="x"
        )
    core = call.core
    assert len(core._sequencer.running) <= 32
    assert max(len(core._interruption._cut), len(core._interruption._items)) <= 64
    assert len(core._recorder._outside) <= 64
    assert len(core._dispatcher._called) <= 256
    assert list(outcomes(call.finish("ours"))) == [waiter]  # whoever waits is not forgotten


# Noise


def mutated(event: dict[str, Any], rng: random.Random) -> Any:
    """The event with something in it replaced, removed or nested."""
    junk: list[Any] = [
        None,
        7,
        -1,
        10**400,
        1e308,
        "",
        "x" * 300,
        [],
        {},
        [[{}]],
        {"id": 5},
        True,
        "\ud800",
        {"\udfff": 1},
    ]
    changed = json.loads(json.dumps(event))
    for _ in range(rng.randint(1, 4)):
        node = changed
        while isinstance(node, dict) and node:
            key = rng.choice(list(node))
            if isinstance(node[key], dict | list) and node[key] and rng.random() < 0.7:
                node = node[key]
                continue
            if rng.random() < 0.3:
                del node[key]
            else:
                node[key] = copy.deepcopy(rng.choice(junk))
            break
        if isinstance(node, list):
            node[rng.randrange(len(node))] = copy.deepcopy(rng.choice(junk))
    return changed


def test_noise_from_the_service_never_raises_and_leaves_the_conversation_alive(
    caplog: pytest.LogCaptureFixture,
) -> None:
    rng = random.Random(7)
    call = Scripted().connect()
    corpus = [event for event, _, _ in MAP]
    corpus += [
        {"type": kind, "item_id": "a", "response_id": "r1", "previous_item_id": "b"} for kind in SERVER_EVENTS
    ]
    corpus += [
        {"type": "conversation.item.added", "item": message("a", "assistant", {"type": "output_audio"})}
    ]
    effects: list[Effect] = []
    for number in range(10_000):
        text = json.dumps(mutated(rng.choice(corpus), rng))
        if rng.random() < 0.2:
            at = rng.randrange(len(text) + 1)
            text = text[:at] + rng.choice(["", "\x00", '"', "}", "\ud83d", "[" * 200]) + text[at + 1 :]
        data = text.encode("utf-8", "surrogatepass") if rng.random() < 0.3 else text
        call.now = number / 50
        playback = Playback(rng.randint(0, 9), rng.randint(0, 9), rng.random() < 0.5)
        effects = call.core.receive(data, call.now, playback)
        if call.core.deadline is not None and call.core.deadline <= call.now:
            call.core.tick(call.now)
        if number % 100 == 0:
            call.interrupt(truncate=True)
            call.core.request_response()
            assert isinstance(call.core.history, tuple)
            call.sent()
    assert "could not be handled" not in caplog.text, caplog.text
    assert effects
    call.core.closed()
    call.connect()
    call.core.send_message("still there")
    assert call.sent_types() == ["conversation.item.create", "response.create"]
