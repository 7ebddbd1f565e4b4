"""Whatever a client sends, the server answers with published events and goes on: seeded sessions of mutated events.

Every event is checked by the driver against `openai.types.realtime`. Ids are those of what is there, so that events
meet responses under way, voices being heard and items that were deleted.
"""

import base64
import copy
import json
import random
from collections.abc import Iterator
from typing import Any

import pytest

from rtc_transport.server.replies import Parrot
from rtc_transport.server.script import Script
from support.server_session import Driver, only

SOUND = base64.b64encode(b"\0\1" * 4800).decode()
STRANGE: list[Any] = [None, True, 0, -1, 2**70, 1.5, "", "x", "é" * 40, [], [1], ["audio"], {}, {"type": "x"},
                      {"a": {"b": [1]}}, "root", "auto", 5000]  # fmt: skip
SESSION: dict[str, Any] = {
    "type": "realtime",
    "model": "m",
    "instructions": "x",
    "output_modalities": ["audio"],
    "tools": [
        {"type": "function", "name": "f", "description": "d", "parameters": {"type": "object"}},
        {
            "type": "mcp",
            "server_label": "db",
            "server_url": "https://db.example",
            "headers": {"a": "b"},
            "allowed_tools": {"tool_names": ["query"]},
            "require_approval": {"never": {"tool_names": ["query"]}},
        },
    ],
    "tool_choice": {"type": "function", "name": "f"},
    "max_output_tokens": 500,
    "tracing": {"workflow_name": "w", "group_id": "g", "metadata": {"a": 1}},
    "truncation": {
        "type": "retention_ratio",
        "retention_ratio": 0.5,
        "token_limits": {"post_instructions": 9},
    },
    "prompt": {"id": "p", "version": "1", "variables": {"a": "b"}},
    "include": ["item.input_audio_transcription.logprobs"],
    "parallel_tool_calls": True,
    "reasoning": {"effort": "low"},
    "audio": {
        "input": {
            "format": {"type": "audio/pcm", "rate": 24000},
            "transcription": {"model": "any", "language": "de", "prompt": "p", "keywords": ["k"]},
            "noise_reduction": {"type": "near_field"},
            "turn_detection": {"type": "server_vad", "threshold": 0.5, "idle_timeout_ms": 5000},
        },
        "output": {"format": {"type": "audio/pcmu"}, "voice": "cedar", "speed": 1.0},
    },
}
SCRIPT = {
    "turns": [
        {"heard": "hello", "text": "A long answer of quite a few words, to be interrupted."},
        {"function_call": {"name": "f", "arguments": {"a": 1}}},
        {"mcp_call": {"server_label": "db", "name": "query", "output": "3", "require_approval": True}},
        {"text": "This goes wrong.", "error": {"message": "boom"}},
    ],
    "mcp_servers": {"db": [{"name": "query", "input_schema": {"type": "object"}}]},
}


def item(**fields: Any) -> dict[str, Any]:
    return {"type": "conversation.item.create", "item": fields}


def client_event(rng: random.Random, driver: Driver) -> dict[str, Any]:
    """A valid event, as far as the ids in it happen to fit."""
    items = [event["item"] for event in driver.log if "item" in event] or [{"id": "none"}]
    some_id = rng.choice(items)["id"]
    call_id = rng.choice([known.get("call_id") or "none" for known in items])
    text = {"type": "input_text", "text": "Hi"}
    user = {"role": "user", "content": [text, {"type": "input_audio", "audio": SOUND}]}
    chosen: dict[str, Any] = rng.choice(
        [
            {"type": "session.update", "session": SESSION},
            {"type": "session.update", "session": {"type": "realtime", "audio": SESSION["audio"]}},
            {**item(type="message", id=f"i{rng.randrange(99)}", **user), "previous_item_id": some_id},
            item(type="message", role="assistant", content=[{"type": "output_text", "text": "Hi"}]),
            item(type="message", role="system", status="completed", content=[text]),
            item(type="function_call", name="f", arguments="{}", call_id="c1"),
            item(type="function_call_output", call_id=call_id, output="o"),
            item(type="mcp_approval_response", approval_request_id=some_id, approve=True, reason="ok"),
            item(type="mcp_call", server_label="db", name="q", arguments="{}", output="o"),
            item(type="mcp_list_tools", server_label="db", tools=[{"name": "q", "input_schema": {}}]),
            item(type="mcp_approval_request", id="r1", server_label="db", name="q", arguments="{}"),
            {"type": "conversation.item.delete", "item_id": some_id},
            {"type": "conversation.item.retrieve", "item_id": some_id},
            {
                "type": "conversation.item.truncate",
                "item_id": some_id,
                "content_index": 0,
                "audio_end_ms": 10,
            },
            {"type": "input_audio_buffer.append", "audio": SOUND},
            {"type": "input_audio_buffer.commit"},
            {"type": "input_audio_buffer.clear"},
            {"type": "output_audio_buffer.clear"},
            {"type": "response.create"},
            {
                "type": "response.create",
                "response": {
                    "conversation": "none",
                    "input": [{"type": "message", **user}, {"type": "item_reference", "id": some_id}],
                    "metadata": {"a": "b"},
                    "max_output_tokens": 20,
                    "audio": {"output": {"voice": "marin"}},
                },
            },
            {"type": "response.cancel"},
        ]
    )
    return copy.deepcopy(chosen)


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every value inside of `value`, as holder and key."""
    for key in value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield value, key
        yield from places(value[key])


def mutate(rng: random.Random, event: dict[str, Any]) -> None:
    holder, key = rng.choice(list(places(event)))
    match rng.randrange(5):
        case 0:
            del holder[key]
        case 1 if isinstance(holder, dict):
            holder[rng.choice(["unknown", "type", "id", "text"])] = copy.deepcopy(rng.choice(STRANGE))
        case _:
            holder[key] = copy.deepcopy(rng.choice(STRANGE))


@pytest.mark.parametrize("seed", range(24))
def test_a_session_of_strange_events_stays_published_and_goes_on(seed: int) -> None:
    rng = random.Random(seed)
    driver = Driver(Script.parse(SCRIPT) if seed % 2 else Parrot())
    for _ in range(60):
        event = client_event(rng, driver)
        if rng.random() < 0.6:
            mutate(rng, event)
        driver.send_raw(json.dumps(event))
        driver.run(rng.choice([0.02, 0.1, 0.5]))
        if rng.random() < 0.1:
            driver.utter(rng.choice([0.3, 1.0]), rng.choice([0.2, 0.7]))
    only(driver.send("session.update", session={"type": "realtime"}), "session.updated")


def test_every_published_field_of_a_session_is_taken() -> None:
    driver = Driver()
    updated = only(driver.send("session.update", session=SESSION), "session.updated")["session"]
    given = {key: value for key, value in SESSION.items() if key != "audio"}
    assert {key: updated[key] for key in given} == given
