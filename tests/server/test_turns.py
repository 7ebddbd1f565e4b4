"""The user's turns in virtual time: voice activity, the input buffer, interruptions."""

import base64

import numpy as np
import pytest

from rtc_transport.server.replies import Prompt, Speech, Tone, tone_pcm
from rtc_transport.server.session import Session
from support.server_session import Driver, error_of, kinds, only

SPEECH = [
    "input_audio_buffer.speech_stopped",
    "input_audio_buffer.committed",
    "conversation.item.added",
    "conversation.item.done",
]


def pcm16(seconds: float) -> str:
    return base64.b64encode((tone_pcm(seconds) * 32767).astype("<i2").tobytes()).decode()


def no_detection(driver: Driver) -> None:
    driver.send("session.update", session={"type": "realtime", "audio": {"input": {"turn_detection": None}}})


def detection(driver: Driver, **settings: object) -> None:
    turn_detection = {"type": "server_vad", **settings}
    session = {"type": "realtime", "audio": {"input": {"turn_detection": turn_detection}}}
    only(driver.send("session.update", session=session), "session.updated")


def test_speech_becomes_a_message_and_an_answer() -> None:
    driver = Driver()
    driver.run(1)
    events = driver.utter(1.0, pause_seconds=0.5)
    assert kinds(events)[:6] == ["input_audio_buffer.speech_started", *SPEECH, "response.created"]
    started, stopped = events[0], events[1]
    assert (started["audio_start_ms"], stopped["audio_end_ms"]) == (700, 2500)
    assert {event.get("item_id") or event["item"]["id"] for event in events[:5]} == {started["item_id"]}
    assert events[3]["item"]["content"] == [{"type": "input_audio", "transcript": None}]


def test_speech_is_announced_while_it_is_spoken() -> None:
    driver = Driver()
    events = driver.run(0.2, tone_pcm(0.2))
    assert kinds(events) == ["input_audio_buffer.speech_started"]


def test_the_parrot_says_the_utterance_with_its_padding() -> None:
    driver = Driver()
    driver.run(1)
    driver.utter(1.0)
    driver.run(3)
    said = driver.heard_voice()
    said = said[np.flatnonzero(said)[0] :]
    utterance = tone_pcm(1.0)
    np.testing.assert_array_equal(said[: len(utterance) - 1], utterance[1:])  # its first sample is zero
    assert only(driver.log, "response.output_audio_transcript.done")["transcript"] == "(parrot, 1.8 s)"
    sent = driver.time_of("output_audio_buffer.stopped") - driver.time_of("output_audio_buffer.started")
    assert sent == pytest.approx(1.8, abs=0.03)


def test_utterances_follow_each_other_in_the_conversation() -> None:
    driver = Driver()
    driver.utter(0.5)
    driver.run(3)
    first = driver.log[-1]
    driver.utter(0.5)
    committed = [e for e in driver.log if e["type"] == "input_audio_buffer.committed"]
    assistant = only(driver.log, "response.output_item.done")["item"]["id"]
    assert first["type"] == "output_audio_buffer.stopped"
    assert [c["previous_item_id"] for c in committed] == [None, assistant]


def test_without_create_response_nobody_answers() -> None:
    driver = Driver()
    detection(driver, create_response=False)
    assert kinds(driver.utter()) == ["input_audio_buffer.speech_started", *SPEECH]


def test_a_track_that_goes_quiet_in_mid_speech_ends_the_turn() -> None:
    driver = Driver()
    driver.run(1, tone_pcm(1))
    events = driver.run(0.8, track=False)
    assert kinds(events)[:4] == SPEECH


# ---- interruptions


def speaking_driver() -> Driver:
    """A server that has been answering aloud for half a second."""
    driver = Driver()
    driver.utter(2.0)
    driver.run(0.3)
    assert "response.done" not in kinds(driver.log)
    return driver


def test_speech_during_the_voice_cancels_stops_and_truncates_in_this_order() -> None:
    driver = speaking_driver()
    events = driver.run(0.2, tone_pcm(0.2))
    wanted = [
        "input_audio_buffer.speech_started",
        "output_audio_buffer.cleared",
        "response.output_audio.done",
        "response.output_audio_transcript.done",
        "response.content_part.done",
        "conversation.item.done",
        "response.output_item.done",
        "response.done",
        "conversation.item.truncated",
    ]
    assert [kind for kind in kinds(events) if not kind.endswith("delta")] == wanted
    response = only(events, "response.done")["response"]
    assert response["status"] == "cancelled"
    assert response["status_details"] == {"type": "cancelled", "reason": "turn_detected"}
    assert response["output"][0]["status"] == "incomplete"
    assert response["usage"]["output_tokens"] > 0


def test_the_voice_is_silent_60_ms_after_it_was_cut() -> None:
    driver = speaking_driver()
    driver.run(0.5, tone_pcm(0.5))
    cut = round((driver.time_of("output_audio_buffer.cleared") - 100) * 24000)
    assert not driver.heard_voice()[cut + 1440 :].any()


def test_what_was_not_heard_is_not_in_the_conversation() -> None:
    driver = speaking_driver()
    events = driver.run(0.2, tone_pcm(0.2))
    truncated = only(events, "conversation.item.truncated")
    sent = driver.time_of("output_audio_buffer.cleared") - driver.time_of("output_audio_buffer.started")
    assert truncated["audio_end_ms"] == pytest.approx(sent * 1000, abs=1)
    item = only(
        driver.send("conversation.item.retrieve", item_id=truncated["item_id"]), "conversation.item.retrieved"
    )
    assert item["item"]["content"] == [{"type": "output_audio"}]


def test_an_item_that_the_client_has_truncated_is_not_made_longer_by_an_interruption() -> None:
    driver = speaking_driver()
    driver.run(0.3)
    item_id = only(driver.log, "response.output_item.added")["item"]["id"]
    place = {"item_id": item_id, "content_index": 0}
    driver.send("response.cancel")
    driver.send("conversation.item.truncate", **place, audio_end_ms=40)
    events = driver.run(0.2, tone_pcm(0.2))
    assert only(events, "conversation.item.truncated")["audio_end_ms"] == 40
    driver.send("conversation.item.truncate", **place, audio_end_ms=41)
    assert driver.log[-1]["error"]["message"] == "Audio content of 40ms is already shorter than 41ms"


def test_a_finished_response_that_is_still_spoken_is_cut_without_a_second_done() -> None:
    driver = Driver(generation_speed=50)
    driver.utter(2.0)
    driver.run(0.5)
    assert only(driver.log, "response.done")["response"]["status"] == "completed"
    events = driver.run(0.2, tone_pcm(0.2))
    assert kinds(events) == [
        "input_audio_buffer.speech_started",
        "output_audio_buffer.cleared",
        "conversation.item.truncated",
    ]


def test_without_interrupt_response_the_voice_goes_on_and_the_answer_waits() -> None:
    driver = Driver()
    detection(driver, interrupt_response=False)
    driver.utter(2.0)
    driver.run(0.3)
    events = driver.run(5, tone_pcm(0.3))
    assert "output_audio_buffer.cleared" not in kinds(events)
    done = [e["response"] for e in events if e["type"] == "response.done"]
    assert [response["status"] for response in done] == ["completed", "completed"]
    assert kinds(events).index("response.created") > kinds(events).index("response.done")


# ---- the buffer by hand


def test_appended_audio_is_committed_by_hand_and_answered_on_request() -> None:
    driver = Driver()
    no_detection(driver)
    assert driver.send("input_audio_buffer.append", audio=pcm16(1.0)) == []
    events = driver.send("input_audio_buffer.commit")
    assert kinds(events) == SPEECH[1:]
    driver.send("response.create")
    driver.run(2)
    assert only(driver.log, "response.output_audio_transcript.done")["transcript"] == "(parrot, 1.0 s)"


def test_appended_audio_shares_the_buffer_with_the_track() -> None:
    driver = Driver()
    no_detection(driver)
    driver.run(0.5)
    driver.send("input_audio_buffer.append", audio=pcm16(0.5))
    driver.send("input_audio_buffer.commit")
    driver.send("response.create")
    driver.run(2)
    assert only(driver.log, "response.output_audio_transcript.done")["transcript"] == "(parrot, 1.0 s)"


def test_appended_speech_is_detected_at_once() -> None:
    driver = Driver()
    audio = base64.b64encode(
        np.concatenate([tone_pcm(0.5) * 32767, np.zeros(14400)]).astype("<i2").tobytes()
    ).decode()
    events = driver.send("input_audio_buffer.append", audio=audio)
    assert kinds(events)[:5] == ["input_audio_buffer.speech_started", *SPEECH]


@pytest.mark.parametrize("kind", ["audio/pcmu", "audio/pcma"])
def test_g711_is_taken_where_the_session_says_so(kind: str) -> None:
    driver = Driver()
    audio = {"input": {"format": {"type": kind}, "turn_detection": None}}
    only(driver.send("session.update", session={"type": "realtime", "audio": audio}), "session.updated")
    silent = {"audio/pcmu": b"\xff", "audio/pcma": b"\xd5"}[kind]
    driver.send("input_audio_buffer.append", audio=base64.b64encode(silent * 8000).decode())
    driver.send("input_audio_buffer.commit")
    driver.send("response.create")
    driver.run(2)
    assert only(driver.log, "response.output_audio_transcript.done")["transcript"] == "(parrot, 1.0 s)"
    assert np.abs(driver.heard_voice()).max() < 0.001


def test_an_empty_buffer_cannot_be_committed() -> None:
    driver = Driver()
    no_detection(driver)
    error = error_of(driver.send("input_audio_buffer.commit", event_id="mine"))
    assert (error["code"], error["event_id"]) == ("input_audio_buffer_commit_empty", "mine")
    assert "buffer only has 0.00ms of audio" in error["message"]


def test_a_cleared_buffer_is_empty() -> None:
    driver = Driver()
    no_detection(driver)
    driver.send("input_audio_buffer.append", audio=pcm16(1.0))
    assert kinds(driver.send("input_audio_buffer.clear")) == ["input_audio_buffer.cleared"]
    assert error_of(driver.send("input_audio_buffer.commit"))["code"] == "input_audio_buffer_commit_empty"


def test_a_commit_in_mid_speech_takes_the_announced_item() -> None:
    driver = Driver()
    started = only(driver.run(0.5, tone_pcm(0.5)), "input_audio_buffer.speech_started")
    committed = only(driver.send("input_audio_buffer.commit"), "input_audio_buffer.committed")
    assert committed["item_id"] == started["item_id"]
    again = only(driver.run(0.5, tone_pcm(0.5)), "input_audio_buffer.speech_started")
    assert again["item_id"] != started["item_id"]


@pytest.mark.parametrize(
    ("audio", "message"),
    [("%%%", "expected base64-encoded audio"), ("AAA=", "an even number of bytes")],
)
def test_audio_that_cannot_be_decoded_is_refused(audio: str, message: str) -> None:
    if audio == "AAA=":
        audio = base64.b64encode(b"abc").decode()
    assert message in error_of(Driver().send("input_audio_buffer.append", audio=audio))["message"]


def test_the_buffer_never_holds_more_than_five_minutes() -> None:
    driver = Driver()
    no_detection(driver)
    minute = np.zeros(60 * 24000, np.float32)
    for _ in range(8):
        driver.session.hear(minute, driver.now)
    driver.send("input_audio_buffer.commit")
    driver.send("response.create")
    driver.run(0.5)
    deltas = [e["delta"] for e in driver.log if e["type"] == "response.output_audio_transcript.delta"]
    assert deltas[0].startswith("(parrot,")
    assert kept_seconds(driver.session) == 300


def kept_seconds(session: Session) -> float:
    user = next(item for item in session._conversation if item.data["role"] == "user")
    return user.audio_ms / 1000


# ---- transcripts and idleness


class Listener(Tone):
    def transcribe(self, audio: object) -> str | None:
        return "Good morning."


def with_transcription(driver: Driver) -> Driver:
    audio = {"input": {"transcription": {"model": "whisper-1"}}}
    driver.send("session.update", session={"type": "realtime", "audio": audio})
    return driver


def test_a_transcript_the_reply_knows_is_sent_where_asked_for() -> None:
    driver = with_transcription(Driver(Listener()))
    events = driver.utter()
    completed = only(events, "conversation.item.input_audio_transcription.completed")
    assert completed["transcript"] == "Good morning."
    assert completed["usage"] == {"type": "duration", "seconds": 1.5}
    assert completed["item_id"] == only(events, "input_audio_buffer.committed")["item_id"]


def test_no_transcript_is_invented() -> None:
    failed = only(with_transcription(Driver()).utter(), "conversation.item.input_audio_transcription.failed")
    assert failed["error"]["code"] == "transcription_unavailable"


def test_transcripts_are_not_sent_unasked() -> None:
    assert not any("transcription" in kind for kind in kinds(Driver(Listener()).utter()))


def test_a_user_who_stays_idle_is_spoken_to() -> None:
    driver = Driver()
    detection(driver, idle_timeout_ms=5000)
    driver.utter(0.5)
    events = driver.run(10)
    triggered = only(events, "input_audio_buffer.timeout_triggered")
    assert triggered["audio_end_ms"] - triggered["audio_start_ms"] == pytest.approx(5000, abs=40)
    assert kinds(events).count("response.created") == 1  # the first one came with the utterance


class Faulty:
    def transcribe(self, audio: object) -> str | None:
        raise RuntimeError("deaf")

    def respond(self, prompt: Prompt) -> list[Speech]:
        raise RuntimeError("dumb")

    def mcp_tools(self, server_label: str) -> None:
        raise RuntimeError("lost")


def test_a_reply_that_raises_fails_the_response_and_not_the_call() -> None:
    driver = Driver(Faulty())
    driver.utter()
    response = only(driver.log, "response.done")["response"]
    assert response["status"] == "failed"
    assert response["status_details"]["error"]["message"] == "The reply raised RuntimeError."
