"""Issue 3, rules: what an application says, and the history that both ends then have."""

import asyncio
import base64
import json
from typing import Any

import numpy as np
import pytest

from rtc_transport import HistoryLimits, RealtimeServer, WebRTCTransport
from rtc_transport.events import UserMessage, to_wire
from rtc_transport.server import Call
from support.rules import LONG, scripted, sent, speak, voice, wire
from support.transports import call_of, connected, eventually

PIXEL = "data:image/png;base64,iVBORw0KGgo="


def known_there(call: Call) -> list[dict[str, Any]]:
    """The conversation as the service has it."""
    assert call._session is not None
    return [item.data for item in call._session._conversation]


def texts(items: Any) -> list[str]:
    """What is written or said in each item."""
    return [
        " ".join(part.get("text") or part.get("transcript") or part["type"] for part in item["content"])
        for item in items
        if "content" in item
    ]


async def settled(transport: WebRTCTransport, call: Call) -> None:
    """Everything sent has been done, and this end knows."""
    await transport.drain()
    await eventually(
        lambda: [item.id for item in transport.history] == [item["id"] for item in known_there(call)]
    )


async def test_every_kind_of_message_arrives_as_it_was_given(realtime_server: RealtimeServer) -> None:
    text, image = {"type": "input_text", "text": "Look:"}, {"type": "input_image", "image_url": PIXEL}
    async with connected(realtime_server) as transport:
        transport.send_message("Hello", trigger_response=False)
        transport.send_message([text, {**image, "detail": "low"}], trigger_response=False)
        transport.send_message({"role": "system", "content": "Be kind."}, trigger_response=False)
        transport.send_message("First", {"previous_item_id": "root", "event_id": "e"}, trigger_response=False)
        transport.add_image(PIXEL, trigger_response=False)
        call = call_of(realtime_server, transport)
        await settled(transport, call)
        assert [(item["role"], item["content"]) for item in known_there(call)] == [
            ("user", [{"type": "input_text", "text": "First"}]),
            ("user", [{"type": "input_text", "text": "Hello"}]),
            ("user", [text, {**image, "detail": "low"}]),
            ("system", [{"type": "input_text", "text": "Be kind."}]),
            ("user", [image]),
        ]
        assert [to_wire(item)["content"] for item in transport.history] == [
            item["content"] for item in known_there(call)
        ]


@pytest.mark.parametrize(("kind", "width"), [("audio/pcm", 2), ("audio/pcmu", 1)])
async def test_audio_of_any_length_goes_in_the_sessions_format_and_becomes_a_message(
    kind: str, width: int
) -> None:
    rate = {"rate": 24000} if kind == "audio/pcm" else {}
    form = {"audio": {"input": {"format": {"type": kind, **rate}, "turn_detection": None}}}
    tone = 8000 * np.sin(np.arange(12_345) / 10)
    audio = tone.astype("<i2").tobytes() if width == 2 else bytes(range(256)) * 40 + b"odd"
    async with RealtimeServer() as server, connected(server, session=form) as transport:
        call = call_of(server, transport)
        transport.send_audio(audio[: 2 * width])
        transport.send_audio(audio[2 * width :], commit=True)
        await transport.wait_for("input_audio_buffer.committed", timeout=5)
        appends = await sent(transport, call, "input_audio_buffer.append")
        assert b"".join(base64.b64decode(event["audio"]) for event in appends) == audio
        assert wire(call, "error") == []
        if width == 2:
            with pytest.raises(ValueError, match="3 bytes of audio are no whole number of 16-bit samples"):
                transport.send_audio(b"odd")


async def test_audio_beside_an_open_microphone_warns(
    realtime_server: RealtimeServer, caplog: pytest.LogCaptureFixture
) -> None:
    async with connected(realtime_server, source=voice()) as transport:
        transport.mute(True)
        transport.send_audio(bytes(480))
        assert caplog.messages == []
        transport.mute(False)
        transport.send_audio(bytes(480))
        transport.send_audio(bytes(480))
    warned = [message for message in caplog.messages if "send_audio()" in message]
    assert warned == ["send_audio() shares the service's input buffer with an audio source that is not muted"]


async def test_a_functions_output_goes_with_and_without_a_response() -> None:
    call = {"function_call": {"name": "look", "arguments": {"at": "sky"}}}
    async with scripted(call, {"text": "Blue."}) as server, connected(server) as transport:
        transport.send_message("What colour is the sky?")
        asked = await transport.wait_for("function_call", timeout=5)
        transport.send_function_call_output(asked, "wait", start_response=False)
        transport.send_function_call_output(asked, "blue")
        await transport.wait_for("turn_done", lambda done: done.output[0].type == "message", timeout=10)
        log = call_of(server, transport)
        assert len(await sent(transport, log, "response.create")) == 2
        outputs = [item["output"] for item in known_there(log) if item["type"] == "function_call_output"]
        assert outputs == ["wait", "blue"]


async def test_reset_history_edits_deletes_and_moves_in_place(realtime_server: RealtimeServer) -> None:
    async with connected(realtime_server) as transport:
        call = call_of(realtime_server, transport)
        for word in ("one", "two", "three", "four"):
            transport.send_message(word, trigger_response=False)
        await settled(transport, call)
        one, two, three, four = old = transport.history
        edited = {**to_wire(two), "content": [{"type": "input_text", "text": "zwei"}]}
        transport.reset_history(old, [four, one, UserMessage.model_validate(edited)])
        await settled(transport, call)
        assert texts(known_there(call)) == ["four", "one", "zwei"]
        kinds = [event["type"] for event in (await sent(transport, call, *_EDITS))[4:]]
        assert kinds == sorted(kinds, reverse=True)  # deletions first
        assert three.id not in [item.id for item in transport.history]


_EDITS = ("conversation.item.delete", "conversation.item.create")


async def test_spoken_answers_are_replayed_as_their_transcript_when_asked() -> None:
    async with scripted({"text": "Good day."}) as server, connected(server) as transport:
        call = call_of(server, transport)
        transport.send_message("Hello")
        await transport.wait_for("turn_done", timeout=10)
        await settled(transport, call)
        question, answer = old = transport.history
        transport.reset_history(old, [answer, question], audio_as_text=True)
        await settled(transport, call)
        assert texts(known_there(call)) == ["Good day.", "Hello"]


async def test_the_history_is_the_services_and_keeps_what_a_truncation_deletes_there() -> None:
    source, turns = voice(), [{"text": LONG}, {"heard": "Stop!", "text": "Well."}]
    listening = {"audio": {"input": {"transcription": {"model": "whisper-1"}}}}
    async with scripted(*turns) as server, connected(server, source=source, session=listening) as transport:
        call = call_of(server, transport)
        transport.send_message("A story, please.")
        await transport.wait_for("output_audio_buffer.started", timeout=5)
        await asyncio.sleep(0.5)
        before = transport.history
        speak(source)
        await transport.wait_for("turn_done", lambda done: done.status == "completed", timeout=10)
        await settled(transport, call)
        request, story, interjection, answer = [to_wire(item) for item in transport.history]
        assert texts([request, interjection, answer]) == ["A story, please.", "Stop!", "Well."]
        assert texts([story])[0].startswith("Once upon a time")
        assert "transcript" not in known_there(call)[1]["content"][0]
        assert [item.id for item in before] == [request["id"], story["id"]]  # a snapshot does not change


async def test_the_memory_of_a_history_is_bounded_on_request(realtime_server: RealtimeServer) -> None:
    limits = HistoryLimits(max_items=3, keep_audio=False)
    async with connected(realtime_server, history=limits) as transport:
        call = call_of(realtime_server, transport)
        for number in range(6):
            transport.send_message(f"message {number}", trigger_response=False)
        spoken = {"type": "input_audio", "audio": base64.b64encode(bytes(480)).decode(), "transcript": "Hm."}
        transport.send_message([spoken], trigger_response=False)
        await transport.drain()
        await eventually(lambda: len(wire(call, "conversation.item.done")) == 7)
        await eventually(lambda: texts(map(to_wire, transport.history))[-1:] == ["Hm."])
        assert texts(map(to_wire, transport.history)) == ["message 4", "message 5", "Hm."]
        assert "audio" not in json.dumps([to_wire(item) for item in transport.history]).replace(
            '"input_audio"', ""
        )
