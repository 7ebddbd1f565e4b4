"""Responses in virtual time: the order of events, what they carry, cancelling, requests that are refused."""

from typing import Any

import numpy as np
import pytest

from rtc_transport.server.replies import (
    Failure,
    FunctionCall,
    McpCall,
    Output,
    Parrot,
    Prompt,
    Speech,
    tone_pcm,
)
from support.server_session import Driver, error_of, kinds, only

AUDIO_MESSAGE = [
    "response.created",
    "rate_limits.updated",
    "response.output_item.added",
    "conversation.item.added",
    "response.content_part.added",
    "response.output_audio_transcript.delta",
    "response.output_audio.done",
    "response.output_audio_transcript.done",
    "response.content_part.done",
    "conversation.item.done",
    "response.output_item.done",
    "response.done",
]


class Fixed(Parrot):
    """Answers everything with the same outputs and keeps the prompts."""

    def __init__(self, *outputs: Output) -> None:
        self.outputs = outputs
        self.prompts: list[Prompt] = []

    def respond(self, prompt: Prompt) -> list[Output]:
        self.prompts.append(prompt)
        return list(self.outputs)

    def mcp_tools(self, server_label: str) -> list[dict[str, Any]] | None:
        return [{"name": "query", "input_schema": {"type": "object"}}] if server_label == "db" else None


def speech(seconds: float = 1.0, transcript: str = "One two three four.") -> Speech:
    return Speech(transcript, tone_pcm(seconds))


def collapsed(events: list[str]) -> list[str]:
    """Runs of the same type as one."""
    return [kind for kind, before in zip(events, [None, *events], strict=False) if kind != before]


def test_a_spoken_answer_comes_in_the_order_of_the_service() -> None:
    driver = Driver(Fixed(speech()))
    driver.message("Hello")
    events = driver.send("response.create") + driver.run(2)
    buffer = [kind for kind in kinds(events) if kind.startswith("output_audio_buffer")]
    rest = [kind for kind in kinds(events) if not kind.startswith("output_audio_buffer")]
    assert collapsed(rest) == AUDIO_MESSAGE
    assert buffer == ["output_audio_buffer.started", "output_audio_buffer.stopped"]
    order = kinds(events)
    assert order.index("response.content_part.added") < order.index("output_audio_buffer.started")
    assert order.index("response.done") < order.index("output_audio_buffer.stopped")


def test_a_spoken_answer_carries_its_ids_transcript_and_usage() -> None:
    driver = Driver(Fixed(speech()))
    driver.message("Hello")
    events = driver.send("response.create") + driver.run(2)
    done = only(events, "response.done")["response"]
    item = only(events, "response.output_item.done")["item"]
    assert done["output"] == [item]
    assert item["status"] == "completed"
    assert item["content"] == [{"type": "output_audio", "transcript": "One two three four."}]
    deltas = [e["delta"] for e in events if e["type"] == "response.output_audio_transcript.delta"]
    assert "".join(deltas) == "One two three four."
    assert done["usage"]["output_token_details"] == {"text_tokens": 6, "audio_tokens": 20}
    assert done["usage"]["total_tokens"] == done["usage"]["input_tokens"] + done["usage"]["output_tokens"]
    assert done["audio"]["output"]["voice"] == "alloy"
    assert {e["response_id"] for e in events if "response_id" in e} == {done["id"]}


def test_the_transcript_runs_ahead_of_the_voice() -> None:
    driver = Driver(Fixed(speech(4.0)))
    driver.send("response.create")
    driver.run(6)
    started, stopped = (driver.time_of(f"output_audio_buffer.{kind}") for kind in ("started", "stopped"))
    assert stopped - started == pytest.approx(4.0, abs=0.03)
    assert driver.time_of("response.output_audio_transcript.done") - started == pytest.approx(2.0, abs=0.1)


def test_the_voice_has_no_holes() -> None:
    driver = Driver(Fixed(speech(3.0)))
    driver.send("response.create")
    driver.run(4)
    said = driver.heard_voice()
    first = np.flatnonzero(said)[0]
    np.testing.assert_array_equal(said[first : first + 60_000], tone_pcm(3.0)[1:60_001])


def test_text_is_written_where_the_session_asks_for_text() -> None:
    driver = Driver(session={"type": "realtime", "output_modalities": ["text"]})
    driver.message("Say this back")
    events = driver.send("response.create") + driver.run(1)
    assert collapsed(kinds(events))[5:8] == [
        "response.output_text.delta",
        "response.output_text.done",
        "response.content_part.done",
    ]
    assert only(events, "response.output_text.done")["text"] == "Say this back"
    assert not driver.heard_voice().any()


def test_a_request_may_ask_for_text_voice_and_limits_of_its_own() -> None:
    driver = Driver()
    response = {
        "output_modalities": ["text"],
        "audio": {"output": {"voice": "cedar"}},
        "metadata": {"k": "v"},
    }
    created = only(driver.send("response.create", response=response), "response.created")["response"]
    assert created["output_modalities"] == ["text"]
    assert created["audio"]["output"]["voice"] == "cedar"
    assert created["metadata"] == {"k": "v"}


def test_a_text_message_to_the_parrot_is_answered_by_a_tone_that_says_so() -> None:
    driver = Driver()
    driver.message("Hello")
    events = driver.send("response.create") + driver.run(2)
    assert only(events, "response.output_audio_transcript.done")["transcript"] == "(parrot, 1.0 s)"


def test_the_model_thinks_as_long_as_told() -> None:
    driver = Driver(latency_seconds=0.5)
    driver.send("response.create")
    driver.run(3)
    waited = driver.time_of("response.output_item.added") - driver.time_of("response.created")
    assert waited == pytest.approx(0.5, abs=0.03)


def test_a_response_out_of_band_leaves_the_conversation_alone() -> None:
    driver = Driver(Fixed(speech(0.2)))
    events = driver.send("response.create", response={"conversation": "none"}) + driver.run(1)
    assert not [kind for kind in kinds(events) if kind.startswith("conversation.")]
    assert only(events, "response.done")["response"]["conversation_id"] is None
    item_id = only(events, "response.output_item.done")["item"]["id"]
    assert error_of(driver.send("conversation.item.retrieve", item_id=item_id))["code"] == (
        "item_retrieve_invalid_item_id"
    )


def test_a_response_may_run_beside_the_one_in_the_conversation() -> None:
    driver = Driver(Fixed(speech(1.0)))
    driver.send("response.create")
    events = driver.send("response.create", response={"conversation": "none"}) + driver.run(4)
    assert kinds(events).count("response.done") == 2
    assert kinds(events).count("output_audio_buffer.stopped") == 2


def test_input_of_a_request_replaces_the_conversation() -> None:
    reply = Fixed(speech(0.1))
    driver = Driver(reply)
    first = only(driver.message("In the conversation"), "conversation.item.done")["item"]["id"]
    item = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "In the request"}]}
    driver.send("response.create", response={"conversation": "none", "input": [item]})
    driver.send("response.create", response={"input": [{"type": "item_reference", "id": first}]})
    assert [prompt.text for prompt in reply.prompts] == ["In the request", "In the conversation"]


def test_the_reply_sees_the_conversation_and_the_instructions() -> None:
    reply = Fixed(speech(0.1))
    driver = Driver(reply, session={"type": "realtime", "instructions": "Be brief."})
    driver.message("One")
    driver.message("Two")
    driver.send("response.create")
    (prompt,) = reply.prompts
    assert (prompt.text, prompt.audio, prompt.modality, prompt.instructions) == (
        "Two",
        None,
        "audio",
        "Be brief.",
    )
    assert [item["content"][0]["text"] for item in prompt.items] == ["One", "Two"]


# ---- calls


def test_a_function_call_streams_its_arguments() -> None:
    driver = Driver(Fixed(FunctionCall("get_weather", '{"city": "Rome", "days": 3}')))
    events = driver.send("response.create") + driver.run(1)
    assert collapsed(kinds(events)) == [
        "response.created",
        "rate_limits.updated",
        "response.output_item.added",
        "conversation.item.added",
        "response.function_call_arguments.delta",
        "response.function_call_arguments.done",
        "conversation.item.done",
        "response.output_item.done",
        "response.done",
    ]
    done = only(events, "response.function_call_arguments.done")
    item = only(events, "response.output_item.done")["item"]
    assert (done["name"], done["arguments"]) == ("get_weather", '{"city": "Rome", "days": 3}')
    assert (item["status"], item["call_id"]) == ("completed", done["call_id"])
    output = {"type": "function_call_output", "call_id": done["call_id"], "output": "Sunny."}
    assert kinds(driver.send("conversation.item.create", item=output))[-1] == "conversation.item.done"


def test_the_output_of_a_tool_is_what_the_next_response_answers() -> None:
    reply = Fixed(FunctionCall("f", "{}"))
    driver = Driver(reply)
    driver.message("Weather?")
    driver.send("response.create")
    driver.run(0.5)
    call_id = only(driver.log, "response.function_call_arguments.done")["call_id"]
    output = {"type": "function_call_output", "call_id": call_id, "output": "Sunny."}
    driver.send("conversation.item.create", item=output)
    driver.send("response.create")
    assert reply.prompts[-1].text == "Sunny."


@pytest.mark.parametrize(("error", "last"), [(None, "completed"), ("no such table", "failed")])
def test_an_mcp_call_ends_with_an_output_or_an_error(error: str | None, last: str) -> None:
    driver = Driver(Fixed(McpCall("db", "query", "{}", output="3 rows", error=error)))
    events = driver.send("response.create") + driver.run(1)
    assert collapsed(kinds(events))[4:8] == [
        "response.mcp_call_arguments.delta",
        "response.mcp_call_arguments.done",
        "response.mcp_call.in_progress",
        f"response.mcp_call.{last}",
    ]
    item = only(events, "conversation.item.done")["item"]
    assert item.get("output") == ("3 rows" if error is None else None)
    assert (item.get("error") or {}).get("message") == error


def test_an_mcp_call_that_needs_approval_follows_the_approval() -> None:
    driver = Driver(Fixed(McpCall("db", "query", "{}", output="3 rows", require_approval=True)))
    driver.send("response.create")
    driver.run(0.2)
    request = only(driver.log, "response.output_item.done")["item"]
    assert (request["type"], request["name"]) == ("mcp_approval_request", "query")
    answer = {"type": "mcp_approval_response", "approval_request_id": request["id"], "approve": True}
    events = driver.send("conversation.item.create", item=answer) + driver.run(1)
    call = only(events, "response.output_item.done")["item"]
    assert (call["type"], call["approval_request_id"], call["output"]) == (
        "mcp_call",
        request["id"],
        "3 rows",
    )


def test_a_refused_mcp_call_does_not_follow() -> None:
    driver = Driver(Fixed(McpCall("db", "query", "{}", require_approval=True)))
    driver.send("response.create")
    driver.run(0.2)
    request_id = only(driver.log, "response.output_item.done")["item"]["id"]
    answer = {"type": "mcp_approval_response", "approval_request_id": request_id, "approve": False}
    events = driver.send("conversation.item.create", item=answer) + driver.run(1)
    assert kinds(events) == ["conversation.item.added", "conversation.item.done"]


@pytest.mark.parametrize(("label", "found"), [("db", True), ("nowhere", False)])
def test_mcp_servers_of_the_session_list_their_tools(label: str, found: bool) -> None:
    driver = Driver(Fixed())
    tools = [{"type": "mcp", "server_label": label, "server_url": "https://mcp.example"}]
    events = driver.send("session.update", session={"type": "realtime", "tools": tools})
    wanted = ["conversation.item.done", "mcp_list_tools.completed"] if found else ["mcp_list_tools.failed"]
    assert kinds(events) == [
        "session.updated",
        "conversation.item.added",
        "mcp_list_tools.in_progress",
        *wanted,
    ]
    assert kinds(driver.send("session.update", session={"type": "realtime", "tools": tools})) == [
        "session.updated"
    ]


# ---- ends


def test_a_failure_is_reported_by_the_response() -> None:
    driver = Driver(Fixed(Failure("quota", "No more tokens.")))
    events = driver.send("response.create") + driver.run(0.1)
    response = only(events, "response.done")["response"]
    assert response["status"] == "failed"
    assert response["status_details"]["error"]["code"] == "quota"


def test_an_answer_longer_than_its_limit_is_incomplete() -> None:
    driver = Driver(Fixed(speech(5.0)))
    events = driver.send("response.create", response={"max_output_tokens": 30}) + driver.run(3)
    response = only(events, "response.done")["response"]
    assert (response["status"], response["status_details"]["reason"]) == ("incomplete", "max_output_tokens")
    assert response["output"][0]["status"] == "incomplete"
    assert response["usage"]["output_tokens"] < 40


def test_a_cancelled_response_ends_but_what_it_said_is_still_spoken() -> None:
    driver = Driver(Fixed(speech(4.0)))
    driver.send("response.create")
    driver.run(0.5)
    events = driver.send("response.cancel", event_id="mine")
    response = only(events, "response.done")["response"]
    assert response["status_details"] == {"type": "cancelled", "reason": "client_cancelled"}
    assert "output_audio_buffer.stopped" in kinds(driver.run(2))


def test_a_clear_stops_the_voice_within_60_ms_and_for_good() -> None:
    driver = Driver(Fixed(speech(4.0)))
    driver.send("response.create")
    driver.run(0.5)
    events = driver.send("output_audio_buffer.clear")
    assert kinds(events) == ["output_audio_buffer.cleared", "conversation.item.truncated"]
    assert only(events, "conversation.item.truncated")["audio_end_ms"] == 480
    driver.run(3)  # the response is generated to its end, unheard
    assert not driver.heard_voice()[round(0.56 * 24000) :].any()
    assert "output_audio_buffer.stopped" not in kinds(driver.log)


def test_a_clear_with_nothing_to_clear_says_nothing() -> None:
    assert Driver().send("output_audio_buffer.clear") == []


def test_a_cancel_with_nothing_to_cancel_is_an_error() -> None:
    error = error_of(Driver().send("response.cancel", event_id="mine"))
    assert (error["code"], error["event_id"]) == ("response_cancel_not_active", "mine")


def test_a_second_response_while_one_runs_is_refused() -> None:
    driver = Driver(Fixed(speech(4.0)))
    created = only(driver.send("response.create"), "response.created")["response"]["id"]
    error = error_of(driver.send("response.create", event_id="second"))
    assert (error["code"], error["event_id"]) == ("conversation_already_has_active_response", "second")
    assert created in error["message"]
    driver.run(3)
    assert "response.created" in kinds(driver.send("response.create"))


@pytest.mark.parametrize(
    ("response", "code"),
    [
        ({"conversation": "elsewhere"}, "invalid_value"),
        ({"metadata": {"k": 1}}, "invalid_type"),
        ({"metadata": {str(i): "" for i in range(17)}}, "object_above_max_properties"),
        ({"input": [{"type": "item_reference", "id": "nobody"}]}, "item_reference_invalid_item_id"),
        ({"input": ["text"]}, "invalid_type"),
        ("now", "invalid_type"),
    ],
)
def test_bad_requests_are_refused(response: Any, code: str) -> None:
    assert error_of(Driver().send("response.create", response=response))["code"] == code


def test_rate_limits_count_requests_and_tokens() -> None:
    driver = Driver(Fixed(speech(0.5)))
    driver.send("response.create")
    driver.run(2)
    driver.send("response.create")
    limits = [e["rate_limits"] for e in driver.log if e["type"] == "rate_limits.updated"]
    requests, tokens = limits[-1]
    assert requests["limit"] - requests["remaining"] == 2
    used = only(driver.log, "response.done")["response"]["usage"]["output_tokens"]
    assert tokens["limit"] - tokens["remaining"] == used
