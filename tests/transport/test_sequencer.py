"""The sequence of `response.create`: one test per sentence of the law."""

from typing import Any

import pytest

from rtc_transport.errors import NotConnectedError, ResponseFailed, SendQueueFull
from rtc_transport.events.responses import Response
from rtc_transport.protocol.commands import TAG
from rtc_transport.protocol.effects import Playback
from rtc_transport.protocol.outbox import encode
from rtc_transport.protocol.sequencer import ALREADY_ACTIVE, ANSWER_SECONDS, MAX_WAITING
from support.conversation import Scripted, emitted, names, outcomes


def refuse(call: Scripted, code: str, event_id: str | None, message: str = "no") -> Any:
    error = {"type": "invalid_request_error", "code": code, "message": message, "event_id": event_id}
    return call.hear("error", error=error)


def vad_call() -> Scripted:
    return Scripted().connect(audio={"input": {"turn_detection": {"type": "server_vad"}}})


def test_a_request_goes_out_at_once_when_nothing_runs() -> None:
    call = Scripted().connect()
    call.core.request_response()
    (create,) = call.sent()
    assert create["type"] == "response.create"
    assert len(create["event_id"]) <= 32


def test_a_second_request_waits_for_the_end_of_the_first_response() -> None:
    call = Scripted().connect()
    call.core.request_response({"instructions": "one"})
    call.core.request_response({"instructions": "two"})
    (first,) = call.sent()
    call.respond("r1", create=first)
    assert call.sent() == []
    call.finish("r1")
    (second,) = call.sent()
    assert second["response"]["instructions"] == "two"


def test_the_end_of_the_audio_frees_nothing() -> None:
    call = Scripted().connect()
    call.core.request_response()
    call.respond("r1", create=call.sent()[0])
    call.core.request_response()
    call.hear("response.output_audio.done", response_id="r1", item_id="i1", output_index=0, content_index=0)
    assert call.sent() == []


def test_automatic_requests_merge_and_explicit_ones_never() -> None:
    call = Scripted().connect()
    call.respond("r0")
    for parameters in (None, None, {"instructions": "a"}, None, {}, {}, None, None):
        call.core.request_response(parameters)
    assert call.core.waiting_requests == 6
    sent = []
    for number in range(7):
        call.finish(f"r{number}")
        for create in call.sent():
            sent.append({name: value for name, value in create["response"].items() if name != "metadata"})
            call.respond(f"r{number + 1}", create=create)
    assert sent == [{}, {"instructions": "a"}, {}, {}, {}, {}]


def test_merged_requests_resolve_with_the_response_that_covers_them() -> None:
    call = Scripted().connect()
    call.respond("r0")
    waiters = [call.core.request_response()[0] for _ in range(3)]
    call.finish("r0")
    call.respond("r1", create=call.sent()[0])
    resolved = outcomes(call.finish("r1"))
    assert list(resolved) == waiters
    assert {response.id for response in resolved.values()} == {"r1"}


def test_a_message_and_a_request_merge_too() -> None:
    call = Scripted().connect()
    call.respond("r0")
    call.core.send_message("one")
    call.core.send_message("two")
    waiter, _ = call.core.request_response()
    call.finish("r0")
    assert call.sent_types() == ["conversation.item.create", "conversation.item.create", "response.create"]
    assert call.core.cancel_response(waiter) == []  # sent: it is cancelled when it starts


def test_two_automatic_requests_while_idle_are_two_responses() -> None:
    call = Scripted().connect()
    call.core.request_response()
    call.core.request_response()
    call.respond("r1", create=call.sent()[0])
    call.finish("r1")
    assert call.sent_types() == ["response.create"]


def test_a_raw_create_takes_its_place_as_an_explicit_request() -> None:
    call = Scripted().connect()
    call.respond("r0")
    call.core.request_response()
    call.core.send_event({"type": "response.create", "event_id": "mine"}, 0.0)
    call.core.request_response()
    call.finish("r0")
    (first,) = call.sent()
    call.respond("r1", create=first)
    call.finish("r1")
    (raw,) = call.sent()
    assert raw["event_id"] == "mine"


def test_a_response_is_known_by_the_tag_in_its_metadata() -> None:
    call = vad_call()
    waiter, _ = call.core.request_response({"metadata": {"topic": "weather"}})
    (create,) = call.sent()
    assert create["response"]["metadata"]["topic"] == "weather"
    call.hear("input_audio_buffer.committed", item_id="u1")
    call.respond("theirs")
    call.finish("theirs")
    call.respond("ours", create=create)
    resolved = outcomes(call.finish("ours"))
    assert resolved[waiter].id == "ours"


def test_without_an_echo_a_response_is_ours_if_no_other_can_have_started() -> None:
    call = vad_call()
    waiter, _ = call.core.request_response()
    call.sent()
    call.respond("r1")
    assert outcomes(call.finish("r1"))[waiter].id == "r1"


def test_without_an_echo_a_response_after_the_users_turn_is_not_ours() -> None:
    call = vad_call()
    waiter, _ = call.core.request_response()
    call.sent()
    call.hear("input_audio_buffer.committed", item_id="u1")
    call.respond("theirs")
    assert outcomes(call.finish("theirs")) == {}
    call.respond("ours")
    assert list(outcomes(call.finish("ours"))) == [waiter]


@pytest.mark.parametrize("detection", [None, {"type": "server_vad", "create_response": False}])
def test_the_users_turn_starts_no_response_where_the_session_says_so(detection: Any) -> None:
    call = Scripted().connect(audio={"input": {"turn_detection": detection}})
    waiter, _ = call.core.request_response()
    call.sent()
    call.hear("input_audio_buffer.committed", item_id="u1")
    call.respond("r1")
    assert list(outcomes(call.finish("r1"))) == [waiter]


def test_a_service_that_echoes_has_to_echo() -> None:
    call = vad_call()
    call.core.request_response()
    call.respond("r1", create=call.sent()[0])
    call.finish("r1")
    waiter, _ = call.core.request_response()
    (create,) = call.sent()
    call.respond("theirs")
    assert outcomes(call.finish("theirs")) == {}
    call.respond("ours", create=create)
    assert list(outcomes(call.finish("ours"))) == [waiter]


def test_metadata_without_room_is_left_alone() -> None:
    call = Scripted().connect()
    metadata = {str(number): "x" for number in range(16)}
    call.core.request_response({"metadata": metadata})
    assert call.sent()[0]["response"]["metadata"] == metadata


def test_an_error_naming_the_request_frees_the_slot_and_is_reported() -> None:
    call = Scripted().connect()
    waiter, _ = call.core.request_response({"max_output_tokens": -1})
    call.core.request_response()
    (create,) = call.sent()
    effects = refuse(call, "invalid_value", create["event_id"], "must be positive")
    failure = outcomes(effects)[waiter]
    assert isinstance(failure, ResponseFailed)
    assert (str(failure), failure.code) == ("must be positive", "invalid_value")
    assert [report.message for report in emitted(effects, "error")] == ["must be positive"]
    assert call.sent_types() == ["response.create"]


def test_an_error_naming_another_event_frees_nothing() -> None:
    call = Scripted().connect()
    call.core.request_response()
    call.core.request_response()
    call.sent()
    effects = refuse(call, "invalid_value", "another")
    assert (outcomes(effects), call.sent()) == ({}, [])
    assert names(effects) == ["*", "error"]


@pytest.mark.parametrize(
    ("code", "message"), [("response_create_failed", "no"), ("invalid_value", "response.create: no")]
)
def test_a_refused_create_is_known_without_its_event_id(code: str, message: str) -> None:
    call = Scripted().connect()
    waiter, _ = call.core.request_response()
    call.sent()
    assert list(outcomes(refuse(call, code, None, message))) == [waiter]


@pytest.mark.parametrize("told", [True, False], ids=["known to be theirs", "taken for ours"])
def test_a_request_refused_for_a_running_response_is_sent_after_its_end(told: bool) -> None:
    call = vad_call()
    waiter, _ = call.core.request_response()
    call.core.request_response({"instructions": "later"})
    (create,) = call.sent()
    if told:
        call.hear("input_audio_buffer.committed", item_id="u1")
    call.respond("theirs")
    effects = refuse(call, ALREADY_ACTIVE, create["event_id"])
    assert names(effects) == ["*"]  # no fault of anybody
    assert call.sent() == []
    call.finish("theirs")
    (again,) = call.sent()
    assert again == create  # back at the head
    call.respond("ours", create=again)
    assert list(outcomes(call.finish("ours"))) == [waiter]


def test_a_request_that_nobody_wants_any_more_is_not_sent_again() -> None:
    call = vad_call()
    waiter, _ = call.core.request_response()
    (create,) = call.sent()
    call.core.cancel_response(waiter)
    call.hear("input_audio_buffer.committed", item_id="u1")
    call.respond("theirs")
    effects = refuse(call, ALREADY_ACTIVE, create["event_id"])
    assert list(outcomes(effects)) == [waiter]
    assert names(effects) == ["*"]
    call.finish("theirs")
    assert call.sent() == []


def test_it_is_sent_again_three_times_at_most() -> None:
    call = vad_call()
    waiter, _ = call.core.request_response()
    for number in range(4):
        (create,) = call.sent()
        call.hear("response.created", response={"id": f"v{number}", "metadata": {TAG: "of another client"}})
        effects = refuse(call, ALREADY_ACTIVE, create["event_id"])
        if number < 3:
            assert outcomes(effects) == {}
            call.finish(f"v{number}")
    assert outcomes(effects)[waiter].code == ALREADY_ACTIVE
    assert len(emitted(effects, "error")) == 1


def test_a_request_refused_for_an_unknown_response_waits_for_any_end_or_for_time() -> None:
    for end in ("done", "time"):
        call = Scripted().connect()
        call.core.request_response()
        refuse(call, ALREADY_ACTIVE, call.sent()[0]["event_id"])
        assert call.sent() == []
        if end == "done":
            call.finish("unknown")
        else:
            assert call.core.deadline == ANSWER_SECONDS
            call.core.tick(ANSWER_SECONDS)
        assert call.sent_types() == ["response.create"]


def test_a_lost_answer_frees_the_slot_after_a_timeout_and_is_reported() -> None:
    call = Scripted().connect()
    waiter, _ = call.core.request_response()
    call.core.request_response()
    call.now = 3.0
    (create,) = call.sent()
    assert call.core.deadline == 3.0 + ANSWER_SECONDS  # counted from when it was sent
    assert call.core.tick(10.9) == []
    effects = call.core.tick(11.0)
    assert str(outcomes(effects)[waiter]) == "response.create was not answered within 8 s"
    (report,) = emitted(effects, "error")
    assert (report.source, report.event_id) == ("transport", create["event_id"])
    assert call.sent_types() == ["response.create"]


def test_the_answer_that_comes_after_all_is_not_taken_for_the_next_request() -> None:
    call = Scripted().connect()
    call.core.request_response()
    (late,) = call.sent()
    call.core.tick(ANSWER_SECONDS)
    waiter, _ = call.core.request_response()
    (create,) = call.sent()
    call.respond("late", create=late)
    assert outcomes(call.finish("late")) == {}
    call.respond("ours", create=create)
    assert list(outcomes(call.finish("ours"))) == [waiter]


def test_state_is_updated_before_handlers_run() -> None:
    call = Scripted().connect()
    call.core.request_response()
    assert "turn_started" in names(call.respond("r1", create=call.sent()[0]))
    assert call.core.current_response_id == "r1"  # what a handler of turn_started sees
    call.core.request_response()
    assert call.sent() == []
    assert "turn_done" in names(call.finish("r1"))
    assert not call.core.response_active


def test_a_cancelled_handle_withdraws_what_has_not_gone_out() -> None:
    call = Scripted().connect()
    call.respond("r0")
    waiter, _ = call.core.request_response({"instructions": "no"})
    failure = outcomes(call.core.cancel_response(waiter))[waiter]
    assert (str(failure), failure.code) == ("the request was withdrawn before it was sent", "cancelled")
    call.finish("r0")
    assert call.sent() == []


def test_a_cancelled_handle_takes_its_request_out_of_the_channels_queue() -> None:
    call = Scripted().connect()
    waiter, _ = call.core.request_response()
    call.core.request_response()
    assert list(outcomes(call.core.cancel_response(waiter))) == [waiter]
    assert call.sent_types() == ["response.create"]  # the other one
    assert call.core.cancel_response(waiter) == []


def test_one_of_merged_handles_leaves_the_request_to_the_others() -> None:
    call = Scripted().connect()
    call.respond("r0")
    first, second = (call.core.request_response()[0] for _ in range(2))
    assert list(outcomes(call.core.cancel_response(first))) == [first]
    call.finish("r0")
    call.respond("r1", create=call.sent()[0])
    assert list(outcomes(call.finish("r1"))) == [second]


def test_a_cancelled_handle_cancels_its_running_response_once() -> None:
    call = Scripted().connect()
    waiter, _ = call.core.request_response()
    call.respond("r1", create=call.sent()[0])
    call.core.cancel_response(waiter)
    call.core.cancel_response(waiter)
    (cancel,) = call.sent()
    assert (cancel["type"], cancel["response_id"]) == ("response.cancel", "r1")
    assert outcomes(call.finish("r1", "cancelled", "client_cancelled"))[waiter].status == "cancelled"


def test_a_handle_cancelled_in_between_cancels_when_its_response_starts() -> None:
    call = Scripted().connect()
    waiter, _ = call.core.request_response()
    (create,) = call.sent()
    assert call.core.cancel_response(waiter) == []
    assert call.sent() == []
    call.respond("r1", create=create)
    assert call.sent_types() == ["response.cancel"]


def test_an_end_without_an_id_ends_what_runs() -> None:
    call = Scripted().connect()
    waiter, _ = call.core.request_response()
    call.respond("r1", create=call.sent()[0])
    effects = call.core.receive('{"type":"response.done","response":7}', 0.0, Playback())
    assert isinstance(outcomes(effects)[waiter], Response)
    assert not call.core.response_active


@pytest.mark.parametrize("start", [[], None], ids=["not understood", "never told"])
def test_an_end_tells_of_a_start_that_was_not_seen(start: Any) -> None:
    call = Scripted().connect()
    waiter, _ = call.core.request_response()
    (create,) = call.sent()
    if start is not None:
        call.hear("response.created", response=start)
    effects = call.hear("response.done", response={"id": "r1", "metadata": create["response"]["metadata"]})
    assert list(outcomes(effects)) == [waiter]
    assert not call.core.response_active


def test_a_start_that_is_told_twice_is_still_ours() -> None:
    call = Scripted().connect()
    waiter, _ = call.core.request_response()
    (create,) = call.sent()
    call.respond("r1", create=create)
    call.respond("r1", create=create)
    assert list(outcomes(call.finish("r1"))) == [waiter]


def test_a_close_rejects_all_who_wait() -> None:
    call = Scripted().connect()
    sent, _ = call.core.request_response({})
    call.sent()
    queued, _ = call.core.request_response({})
    resolved = outcomes(call.core.closed("the peer hung up"))
    assert set(resolved) == {sent, queued}
    assert all(isinstance(error, NotConnectedError) for error in resolved.values())
    assert str(resolved[sent]) == "the peer hung up before the response was done"


@pytest.mark.parametrize("parameters", [None, {}])
def test_ten_thousand_queued_requests_leave_no_waiters_behind(parameters: dict[str, Any] | None) -> None:
    call = Scripted().connect()
    call.respond("r0")
    waiters = {call.core.request_response(parameters)[0] for _ in range(10_000)}
    assert call.core.waiting_requests == (1 if parameters is None else 10_000)
    assert set(outcomes(call.core.closed())) == waiters
    assert call.core.waiting_requests == 0
    assert call.core.closed() == []


def test_requests_are_bounded() -> None:
    call = Scripted().connect()
    call.respond("r0")
    for _ in range(MAX_WAITING):
        call.core.request_response({})
    with pytest.raises(SendQueueFull, match=f"^{MAX_WAITING} requests for a response wait, the limit is"):
        call.core.request_response()


def test_messages_that_ask_for_responses_leave_nothing_behind_but_themselves() -> None:
    call = Scripted().connect()
    call.respond("r0")
    for _ in range(2_000):
        call.core.send_message("hello")
        assert call.sent_types() == ["conversation.item.create"]
    assert call.core.waiting_requests == 1


def test_the_tag_is_no_longer_than_metadata_allows() -> None:
    call = Scripted().connect()
    call.core.send_event({"type": "response.create", "event_id": "x" * 600}, 0.0)
    (create,) = call.sent()
    assert all(len(key) <= 64 and len(value) <= 512 for key, value in create["response"]["metadata"].items())
    assert encode(create).event_id == "x" * 600
