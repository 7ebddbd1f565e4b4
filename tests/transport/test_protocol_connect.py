"""The life of a connection: one acknowledged session.update, what was queued before, and the end."""

import json
from typing import Any

import pytest

from rtc_transport.errors import ConnectError, ConnectTimeout, EventTooLarge, NotConnectedError, SendQueueFull
from rtc_transport.events.session_objects import Session
from rtc_transport.protocol.effects import Emit, Failed, Playback, Ready
from rtc_transport.session import SessionConfig
from support.conversation import Scripted, deeds, emitted, names, outcomes


def opened(**session: Any) -> tuple[Scripted, dict[str, Any]]:
    call = Scripted()
    assert call.core.open(SessionConfig(**session), 0.0) == []
    (update,) = call.sent()
    return call, update


def acknowledge(call: Scripted, **session: Any) -> Any:
    return call.hear("session.updated", session={"type": "realtime", **session})


def fail(call: Scripted, event_id: str | None) -> Any:
    error = {"type": "invalid_request_error", "code": "bad", "message": "no such voice", "event_id": event_id}
    return call.hear("error", error=error)


def test_exactly_one_update_with_our_event_id_and_only_what_was_given() -> None:
    _, update = opened(instructions="Be brief.", model="gpt-realtime")
    assert update.pop("event_id")
    assert update == {"type": "session.update", "session": {"type": "realtime", "instructions": "Be brief."}}


def test_nothing_given_is_still_an_update() -> None:
    _, update = opened()
    assert update["session"] == {"type": "realtime"}


def test_the_first_session_updated_after_it_is_the_answer() -> None:
    call, _ = opened()
    assert deeds(call.hear("session.created", session={"type": "realtime", "model": "m"})) == []
    effects = acknowledge(call, instructions="Hello")
    assert effects[0] == Ready(Session(type="realtime", instructions="Hello"))
    assert names(effects) == ["*", "session.updated"]  # behind Ready: handlers find the connection up
    assert call.core.deadline is None
    assert deeds(acknowledge(call)) == []


def test_a_session_updated_before_ours_was_sent_is_no_answer() -> None:
    call = Scripted()
    call.core.open(SessionConfig(), 0.0)
    assert deeds(acknowledge(call)) == []
    call.sent()
    assert len(deeds(acknowledge(call))) == 1


def test_an_answer_that_fits_no_model_is_an_answer() -> None:
    call, _ = opened()
    effects = call.hear("session.updated", session={"type": "realtime", "instructions": 7, "speed": "x"})
    assert effects[0] == Ready(Session(type="realtime"))
    assert names(effects) == ["*"]


@pytest.mark.parametrize("named", [True, False], ids=["with its event id", "without any"])
def test_an_error_about_the_update_fails_the_connect_with_its_words(named: bool) -> None:
    call, update = opened(audio={"output": {"voice": "nobody"}})
    (failed, *_) = fail(call, update["event_id"] if named else None)
    assert isinstance(failed, Failed)
    assert str(failed.error) == "connect failed at stage session: no such voice"
    assert (failed.error.stage, failed.error.code) == ("session", "bad")
    assert call.core.deadline is None
    assert deeds(acknowledge(call)) == []


def test_an_error_about_something_else_does_not() -> None:
    call, _ = opened()
    effects = fail(call, "event_of_sideband")
    assert names(effects) == ["*", "error"]
    assert deeds(effects) == []
    assert isinstance(acknowledge(call)[0], Ready)


def test_an_error_before_ours_was_sent_does_not() -> None:
    call = Scripted()
    call.core.open(SessionConfig(), 0.0)
    assert deeds(fail(call, None)) == []


def test_no_answer_in_five_seconds_is_an_error() -> None:
    call, _ = opened()
    assert call.core.deadline == 5.0
    assert call.core.tick(4.9) == []
    (failed,) = call.core.tick(5.0)
    assert isinstance(failed, Failed)
    assert isinstance(failed.error, ConnectTimeout)
    assert str(failed.error) == (
        "connect failed at stage session: the service did not acknowledge the session within 5 s"
    )


def test_what_is_queued_while_connecting_goes_out_in_order_after_the_answer() -> None:
    call = Scripted()
    call.core.send_message("early")
    call.core.open(SessionConfig(), 0.0)
    call.core.send_audio(b"\0\0")
    waiter, _ = call.core.request_response({"instructions": "later"})
    assert call.sent_types() == ["session.update"]
    acknowledge(call)
    item, create, append = call.sent()
    assert [item["type"], create["type"], append["type"]] == [
        "conversation.item.create",
        "response.create",
        "input_audio_buffer.append",
    ]
    call.respond("r1", create=create)
    call.finish("r1")
    (later,) = call.sent()
    call.respond("r2", create=later)
    assert list(outcomes(call.finish("r2"))) == [waiter]


def test_the_queue_is_bounded_while_connecting() -> None:
    call = Scripted()
    for _ in range(1000):
        call.core.send_message("x", trigger_response=False)
    with pytest.raises(SendQueueFull, match=r"^1000 events"):
        call.core.send_message("x")
    assert call.core.queued_events == 1000
    assert call.core.waiting_requests == 0


def test_the_peers_limit_becomes_known_when_the_channel_opens() -> None:
    call = Scripted()
    call.core.add_image("data:image/png;base64," + "A" * 70_000)
    waiter, _ = call.core.request_response({"instructions": "x" * 70_000})
    effects = call.core.open(SessionConfig(), 0.0, limit=65_536)
    (report,) = emitted(effects, "error")
    assert isinstance(report.error, EventTooLarge)
    assert report.message.startswith("conversation.item.create: the event has 70")
    call.sent()
    acknowledge(call)
    call.respond("r1", create=call.sent()[0])
    effects = call.finish("r1")  # its turn has come: it is too large as well
    assert isinstance(outcomes(effects)[waiter], EventTooLarge)
    assert call.sent() == []


def test_a_queued_request_over_the_limit_gives_its_place_to_the_next() -> None:
    call = Scripted()
    waiter, _ = call.core.request_response({"instructions": "x" * 70_000})
    call.core.request_response()
    effects = call.core.open(SessionConfig(), 0.0, limit=65_536)
    assert isinstance(outcomes(effects)[waiter], EventTooLarge)
    call.sent()
    acknowledge(call)
    assert call.sent_types() == ["response.create"]


def test_with_a_known_limit_a_large_event_raises_and_changes_nothing() -> None:
    call = Scripted()
    call.core.open(SessionConfig(), 0.0, limit=65_536)
    with pytest.raises(EventTooLarge, match=r"^the event has 7\d+ bytes, the peer takes 65536: "):
        call.core.add_image("data:image/png;base64," + "A" * 70_000)
    with pytest.raises(EventTooLarge):
        call.core.request_response({"instructions": "x" * 70_000})
    assert (call.core.queued_events, call.core.waiting_requests) == (0, 0)


def test_a_configuration_over_the_limit_fails_the_connect() -> None:
    call = Scripted()
    (failed,) = call.core.open(SessionConfig(instructions="x" * 70_000), 0.0, limit=65_536)
    assert isinstance(failed, Failed)
    assert str(failed.error).startswith("connect failed at stage session: the event has 70")


def test_what_the_service_changed_or_ignored_is_reported_after_the_answer() -> None:
    call, _ = opened(instructions="Be brief.", audio={"output": {"voice": "ash"}})
    effects = acknowledge(call, instructions="Be brief.", audio={"output": {"voice": "marin", "speed": 1}})
    (report,) = emitted(effects, "session_update_mismatch")
    assert [tuple(field) for field in report.fields] == [("audio.output.voice", "ash", "marin")]


def test_an_end_discards_what_is_queued_counts_it_and_reports_once() -> None:
    call = Scripted().connect()
    call.core.send_message("one")
    call.core.send_message("two")
    waiter, _ = call.core.request_response({})
    effects = call.core.closed("the network was lost")
    (report,) = emitted(effects, "error")
    assert report.message == "the network was lost: 5 queued events discarded"
    assert report.source == "transport"
    assert isinstance(outcomes(effects)[waiter], NotConnectedError)
    assert call.core.counters.discarded == 5
    assert call.core.next_message(0.0) is None


def test_an_end_with_nothing_queued_reports_nothing() -> None:
    assert Scripted().connect().core.closed() == []


def test_a_new_connection_is_a_new_conversation() -> None:
    call = Scripted().connect()
    call.speak("r1", "i1")
    call.hear("conversation.item.added", item={"id": "i1", "type": "message", "role": "user", "content": []})
    call.interrupt()
    call.sent()
    call.core.closed()
    assert [item.id for item in call.core.history] == ["i1"]  # still to be read
    assert (call.core.session, call.core.response_active, call.core.deadline) == (None, False, None)
    call.connect()
    assert call.core.history == ()
    call.core.request_response()
    assert call.sent_types() == ["response.create"]


def test_a_later_update_is_correlated_in_the_same_way() -> None:
    call = Scripted().connect()
    call.core.update_session_config({"instructions": "one"})
    call.core.update_session_config({"instructions": "two", "tools": []})
    first, second = call.sent()
    assert second["session"] == {"type": "realtime", "instructions": "two", "tools": []}
    effects = fail(call, first["event_id"])
    assert names(effects) == ["*", "error"]
    effects = acknowledge(call, instructions="two")
    (report,) = emitted(effects, "session_update_mismatch")
    assert [tuple(field) for field in report.fields] == [("tools", [], None)]


def test_a_raw_update_is_correlated_too() -> None:
    call = Scripted().connect()
    call.core.send_event(
        {"type": "session.update", "session": {"type": "realtime", "instructions": "x"}}, 0.0
    )
    call.sent()
    assert len(emitted(acknowledge(call, instructions="y"), "session_update_mismatch")) == 1


def test_an_update_of_another_client_answers_none_of_ours_that_is_queued() -> None:
    call = Scripted().connect()
    call.core.update_session_config({"instructions": "mine"})
    assert emitted(acknowledge(call, instructions="theirs"), "session_update_mismatch") == []
    call.sent()
    assert emitted(acknowledge(call, instructions="mine"), "session_update_mismatch") == []


def test_serials_tell_when_everything_has_left() -> None:
    call = Scripted().connect()
    call.core.send_message("one")
    serial = call.core.last_serial
    assert call.core.holds(serial)
    assert (call.core.queued_events, call.core.queued_bytes > 100) == (2, True)
    call.sent()
    assert not call.core.holds(serial)


def test_counters_count() -> None:
    call = Scripted().connect()
    for text in ("{", '{"type":"new.event"}', '{"type":"conversation.item.deleted","item_id":5}'):
        call.core.receive(text, 0.0, Playback())
    counters = call.core.counters
    assert (counters.received, counters.sent) == (5, 1)
    assert (counters.malformed, counters.unknown, counters.invalid) == (1, 1, 1)


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ("{", "not JSON"),
        ("[]", "not an object but list"),
        ("{}", "no `type`"),
        (b"\xff\xfe", "not UTF-8 at byte 0"),
        ('{"type":3}', "`type` is not a string"),
    ],
)
def test_what_is_no_event_is_reported_and_harms_nothing(message: str | bytes, reason: str) -> None:
    call = Scripted().connect()
    (effect,) = call.core.receive(message, 0.0, Playback())
    assert isinstance(effect, Emit)
    assert (effect.name, effect.payload.source) == ("error", "protocol")
    assert reason in effect.payload.message


def test_an_error_of_our_own_does_not_end_the_receive_path(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    call = Scripted().connect()

    def broken(*_: object) -> None:
        raise KeyError("secret of the event")

    monkeypatch.setattr(call.core._recorder, "record", broken)
    effects = call.hear("response.done", response={"id": "r1"})
    assert names(effects) == ["*", "error"]
    assert emitted(effects, "error")[0].message == "an event could not be handled: KeyError"
    assert "an event of type 'response.done' could not be handled" in caplog.text


def test_ids_are_short_enough_for_the_service() -> None:
    from rtc_transport.protocol.core import Conversation

    core = Conversation()
    waiter, _ = core.request_response()
    core.open(SessionConfig(), 0.0)
    event_ids = [waiter]
    while message := core.next_message(0.0):
        event_ids.append(json.loads(message.text)["event_id"])
    assert all(len(each) <= 32 and each.isascii() for each in event_ids)


def test_connect_errors_are_connect_errors() -> None:
    call, update = opened()
    (failed, *_) = fail(call, update["event_id"])
    assert isinstance(failed, Failed)
    assert isinstance(failed.error, ConnectError)
    assert not isinstance(failed.error, ConnectTimeout)
