"""Scripted replies: which turn answers, what it says, and how a bad script is reported."""

import json
import wave
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rtc_transport.server.replies import FunctionCall, McpCall, Prompt, Speech, tone_pcm
from rtc_transport.server.script import Script, ScriptError
from support.server_session import Driver, kinds, only


def script(*turns: dict[str, Any], **rest: Any) -> Script:
    return Script.parse({"turns": list(turns), **rest})


def said(reply: Script, text: str | None) -> str:
    (output,) = reply.respond(Prompt(text=text))
    assert isinstance(output, Speech)
    return output.transcript


def test_the_first_unused_turn_that_fits_answers_then_the_tone() -> None:
    reply = script({"when": "weather", "text": "Sunny."}, {"text": "Hello."}, {"when": "bye", "text": "Bye."})
    assert [said(reply, text) for text in ("Hi", "The Weather?", "The weather?", "bye", None)] == [
        "Hello.",
        "Sunny.",
        "(tone, 1.0 s)",
        "Bye.",
        "(tone, 1.0 s)",
    ]


def test_text_without_audio_is_spoken_as_a_tone_of_its_length() -> None:
    (output,) = script({"text": "one two three four five six"}).respond(Prompt())
    assert isinstance(output, Speech)
    assert len(output.audio) / 24000 == pytest.approx(2.1)


def test_a_turn_may_speak_and_call() -> None:
    call = {"name": "get_weather", "arguments": {"city": "Rome"}}
    mcp = {"server_label": "db", "name": "query", "output": "3 rows"}
    outputs = script({"text": "Let me see.", "function_call": [call, call], "mcp_call": mcp}).respond(
        Prompt()
    )
    assert [type(output) for output in outputs] == [Speech, FunctionCall, FunctionCall, McpCall]
    assert outputs[1] == FunctionCall("get_weather", '{"city": "Rome"}')


def test_every_call_starts_the_script_anew() -> None:
    reply = script({"text": "Hello."})
    assert said(reply.fresh(), None) == said(reply.fresh(), None) == "Hello."


def test_what_the_user_says_is_in_the_script_and_decides_who_answers() -> None:
    turns = [
        {"when": "weather", "text": "Sunny."},
        {"heard": "What is the weather?", "when": "^never$", "text": "-"},
    ]
    driver = Driver(script(*turns))
    transcription = {"input": {"transcription": {"model": "any"}}}
    driver.send("session.update", session={"type": "realtime", "audio": transcription})
    events = driver.utter() + driver.run(2)
    transcript = only(events, "conversation.item.input_audio_transcription.completed")
    assert transcript["transcript"] == "What is the weather?"
    assert only(events, "response.output_audio_transcript.done")["transcript"] == "Sunny."


def test_a_scripted_conversation_with_a_tool() -> None:
    call = {"name": "get_weather", "arguments": {"city": "Rome"}}
    driver = Driver(script({"when": "weather", "function_call": call}, {"when": "22", "text": "It is warm."}))
    driver.message("How is the weather?")
    driver.send("response.create")
    driver.run(1)
    call_id = only(driver.log, "response.function_call_arguments.done")["call_id"]
    output = {"type": "function_call_output", "call_id": call_id, "output": "22 degrees"}
    driver.send("conversation.item.create", item=output)
    driver.send("response.create")
    driver.run(2)
    assert only(driver.log, "response.output_audio_transcript.done")["transcript"] == "It is warm."


def test_a_scripted_error_fails_the_response() -> None:
    driver = Driver(script({"error": {"message": "Out of tokens."}}))
    events = driver.send("response.create") + driver.run(0.1)
    assert only(events, "response.done")["response"]["status_details"]["error"]["message"] == "Out of tokens."


def test_scripted_mcp_servers_list_their_tools() -> None:
    tool = {"name": "query", "input_schema": {"type": "object"}}
    driver = Driver(script(mcp_servers={"db": [tool]}))
    tools = [{"type": "mcp", "server_label": "db", "server_url": "https://mcp.example"}]
    events = driver.send("session.update", session={"type": "realtime", "tools": tools})
    assert only(events, "conversation.item.done")["item"]["tools"] == [tool]
    assert kinds(events)[-1] == "mcp_list_tools.completed"


def write_wav(path: Path, pcm: np.ndarray[Any, Any], rate_hz: int, channels: int = 1) -> None:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(2)
        file.setframerate(rate_hz)
        file.writeframes((np.repeat(pcm, channels) * 32767).astype("<i2").tobytes())


@pytest.mark.parametrize(("rate_hz", "channels"), [(24000, 1), (48000, 2), (8000, 1)])
def test_audio_is_read_from_beside_the_script(tmp_path: Path, rate_hz: int, channels: int) -> None:
    write_wav(
        tmp_path / "hello.wav", tone_pcm(1.0)[: rate_hz if rate_hz < 24000 else None], rate_hz, channels
    )
    (tmp_path / "script.json").write_text(json.dumps({"turns": [{"audio": "hello.wav"}]}))
    (output,) = Script.load(tmp_path / "script.json").respond(Prompt())
    assert isinstance(output, Speech)
    assert output.transcript == "(hello.wav)"
    assert len(output.audio) == pytest.approx(min(24000, rate_hz) * 24000 / rate_hz, abs=2)
    assert 0.08 < np.abs(output.audio).max() < 0.12


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("{", "is not JSON: Expecting property name enclosed in double quotes: line 1 column 2 (char 1)"),
        ("[]", "the script must be an object"),
        ("{}", "turns is missing"),
        ('{"turns": {}}', "turns must be a list"),
        ('{"turns": [], "turn": 1}', "the script.turn is unknown; known are mcp_servers, turns"),
        (
            '{"turns": [{"txt": "a"}]}',
            "turns[0].txt is unknown; known are audio, error, function_call, heard, mcp_call, text, when",
        ),
        (
            '{"turns": [{"when": "a"}]}',
            "turns[0] has no answer: give it text, audio, function_call, mcp_call or error",
        ),
        ('{"turns": [{"text": ""}]}', "turns[0].text must be text"),
        (
            '{"turns": [{"text": "a", "when": "("}]}',
            "turns[0].when is no regular expression: missing ), unterminated subpattern at position 0",
        ),
        ('{"turns": [{"function_call": {"arguments": {}}}]}', "turns[0].function_call.name is missing"),
        (
            '{"turns": [{"function_call": [{"name": "f"}, {"name": "g", "arguments": 1}]}]}',
            "turns[0].function_call[1].arguments must be an object, or text that is sent as it is",
        ),
        ('{"turns": [{"mcp_call": {"name": "f"}}]}', "turns[0].mcp_call.server_label is missing"),
        (
            '{"turns": [{"mcp_call": {"server_label": "s", "name": "f", "require_approval": "yes"}}]}',
            "turns[0].mcp_call.require_approval must be true or false",
        ),
        ('{"turns": [{"error": {}}]}', "turns[0].error.message is missing"),
        (
            '{"turns": [], "mcp_servers": {"db": [{"name": "f"}]}}',
            "mcp_servers.db[0].input_schema must be an object",
        ),
    ],
)
def test_a_bad_script_is_one_error_with_file_and_field(tmp_path: Path, content: str, reason: str) -> None:
    path = tmp_path / "script.json"
    path.write_text(content)
    with pytest.raises(ScriptError) as caught:
        Script.load(path)
    assert str(caught.value) == f"{path}: {reason}"


def test_a_missing_or_binary_script_says_so(tmp_path: Path) -> None:
    with pytest.raises(ScriptError, match=r"script\.json: cannot be read: no such file or directory$"):
        Script.load(tmp_path / "script.json")
    (tmp_path / "script.json").write_bytes(b"\xff\xfe")
    with pytest.raises(ScriptError, match=r"script\.json: is not UTF-8 text$"):
        Script.load(tmp_path / "script.json")


@pytest.mark.parametrize(
    ("content", "reason"),
    [(None, "no such file"), (b"", "the file is empty"), (b"noise" * 99, "not a sound file")],
)
def test_bad_audio_is_an_error_with_file_field_and_reason(
    tmp_path: Path, content: bytes | None, reason: str
) -> None:
    if content is not None:
        (tmp_path / "a.wav").write_bytes(content)
    (tmp_path / "script.json").write_text(json.dumps({"turns": [{"text": "x"}, {"audio": "a.wav"}]}))
    with pytest.raises(ScriptError) as caught:
        Script.load(tmp_path / "script.json")
    assert f"script.json: turns[1].audio: cannot read {tmp_path / 'a.wav'}: {reason}" in str(caught.value)
