"""The session's configuration: defaults, merging, and what is refused with which words."""

from typing import Any

import pytest

from rtc_transport.server.config import check_response, initial_session, updated_session
from rtc_transport.server.problems import EventError

Json = dict[str, Any]


def update(
    session: Json, *, model_fixed: bool = False, audio_sent: bool = False, **changes: Any
) -> dict[str, Any]:
    given = {"type": "realtime", **changes}
    return updated_session(session, given, model_fixed=model_fixed, audio_sent=audio_sent)


def turn_detection(session: Json) -> Any:
    return session["audio"]["input"]["turn_detection"]


def test_a_call_without_a_session_gets_the_defaults_of_the_service() -> None:
    session = initial_session(None)
    assert session["model"] == "gpt-realtime"
    assert session["output_modalities"] == ["audio"]
    assert turn_detection(session) == {
        "type": "server_vad",
        "threshold": 0.5,
        "prefix_padding_ms": 300,
        "silence_duration_ms": 500,
        "idle_timeout_ms": None,
        "create_response": True,
        "interrupt_response": True,
    }


def test_what_the_call_gives_stands_over_the_defaults() -> None:
    session = initial_session({"type": "realtime", "model": "m", "audio": {"output": {"voice": "marin"}}})
    assert (session["model"], session["audio"]["output"]["voice"]) == ("m", "marin")
    assert session["audio"]["output"]["format"] == {"type": "audio/pcm", "rate": 24000}


def test_an_update_changes_only_what_it_gives_and_not_the_old_session() -> None:
    session = initial_session(None)
    new = update(session, instructions="Be brief.", audio={"output": {"speed": 1.2}})
    assert new["audio"]["output"]["voice"] == session["audio"]["output"]["voice"]
    assert (new["instructions"], new["audio"]["output"]["speed"]) == ("Be brief.", 1.2)
    assert (session["instructions"], session["audio"]["output"]["speed"]) == ("", 1.0)


def test_arrays_are_replaced_and_cleared() -> None:
    tools = [{"type": "function", "name": "a"}, {"type": "function", "name": "b"}]
    session = update(initial_session(None), tools=tools)
    assert update(session, tools=tools[:1])["tools"] == tools[:1]
    assert update(session, tools=[])["tools"] == []


def test_objects_other_than_audio_are_replaced_as_a_whole() -> None:
    session = update(initial_session(None), tool_choice={"type": "function", "name": "a"})
    new = update(session, tool_choice={"type": "mcp", "server_label": "db"})
    assert new["tool_choice"] == {"type": "mcp", "server_label": "db"}


def test_turn_detection_is_switched_off_on_and_between_kinds() -> None:
    off = update(initial_session(None), audio={"input": {"turn_detection": None}})
    assert turn_detection(off) is None
    semantic = update(off, audio={"input": {"turn_detection": {"type": "semantic_vad"}}})
    assert turn_detection(semantic) == {
        "type": "semantic_vad",
        "eagerness": "auto",
        "create_response": True,
        "interrupt_response": True,
    }
    back = update(semantic, audio={"input": {"turn_detection": {"type": "server_vad", "threshold": 0.8}}})
    assert turn_detection(back)["threshold"] == 0.8
    assert "eagerness" not in turn_detection(back)


def test_turn_detection_of_the_same_kind_is_merged() -> None:
    session = update(initial_session(None), audio={"input": {"turn_detection": {"silence_duration_ms": 200}}})
    assert turn_detection(session)["silence_duration_ms"] == 200
    assert turn_detection(session)["type"] == "server_vad"


VAD = "session.audio.input.turn_detection"


@pytest.mark.parametrize(
    ("changes", "code", "message"),
    [
        ({"modalities": ["audio"]}, "unknown_parameter", "Unknown parameter: 'session.modalities'."),
        (
            {"audio": {"input": {"vad": 1}}},
            "unknown_parameter",
            "Unknown parameter: 'session.audio.input.vad'.",
        ),
        (
            {"output_modalities": ["audio", "text"]},
            "invalid_value",
            (
                'Invalid value for \'session.output_modalities\': ["audio", "text"]. '
                'Supported values are: ["audio"], ["text"].'
            ),
        ),
        (
            {"instructions": 7},
            "invalid_type",
            "Invalid type for 'session.instructions': expected a string, but got an integer instead.",
        ),
        (
            {"audio": {"output": {"speed": 3}}},
            "invalid_value",
            "Invalid value for 'session.audio.output.speed': expected a number from 0.25 to 1.5, but got 3 instead.",
        ),
        (
            {"audio": {"input": {"turn_detection": {"type": "magic"}}}},
            "invalid_value",
            f'Invalid value for \'{VAD}.type\': "magic". Supported values are: "server_vad", "semantic_vad".',
        ),
        (
            {"audio": {"input": {"turn_detection": {"type": "server_vad", "threshold": 2}}}},
            "invalid_value",
            f"Invalid value for '{VAD}.threshold': expected a number from 0 to 1, but got 2 instead.",
        ),
        (
            {"audio": {"input": {"turn_detection": {"type": "server_vad", "silence_duration_ms": True}}}},
            "invalid_value",
            (
                f"Invalid value for '{VAD}.silence_duration_ms': expected an integer from 20 to 10000, "
                "but got true instead."
            ),
        ),
        (
            {"audio": {"input": {"turn_detection": {"eagerness": "low"}}}},
            "unknown_parameter",
            f"Unknown parameter: '{VAD}.eagerness'.",
        ),
        (
            {"audio": {"input": {"format": {"type": "audio/pcm", "rate": 16000}}}},
            "invalid_value",
            "Invalid value for 'session.audio.input.format.rate': 16000. Supported values are: 24000.",
        ),
        (
            {"audio": {"output": {"voice": ""}}},
            "invalid_value",
            "Invalid value for 'session.audio.output.voice': expected a voice name or an object with its id.",
        ),
        (
            {"tools": [{"type": "function"}]},
            "missing_required_parameter",
            "Missing required parameter: 'session.tools[0].name'.",
        ),
        (
            {"tools": [{"type": "mcp"}]},
            "missing_required_parameter",
            "Missing required parameter: 'session.tools[0].server_label'.",
        ),
        (
            {"max_output_tokens": 0},
            "invalid_value",
            "Invalid value for 'session.max_output_tokens': expected an integer from 1 to 4096, but got 0 instead.",
        ),
        (
            {"tool_choice": "sometimes"},
            "invalid_value",
            (
                "Invalid value for 'session.tool_choice': \"sometimes\". "
                'Supported values are: "none", "auto", "required".'
            ),
        ),
        (
            {"type": "transcription"},
            "invalid_value",
            'Invalid value for \'session.type\': "transcription". Supported values are: "realtime".',
        ),
    ],
)
def test_a_bad_update_is_refused_in_the_words_of_the_service(changes: Json, code: str, message: str) -> None:
    with pytest.raises(EventError) as caught:
        update(initial_session(None), **changes)
    assert (caught.value.code, caught.value.message) == (code, message)
    assert caught.value.param is not None
    assert f"'{caught.value.param}'" in message


def test_an_update_without_a_type_is_refused() -> None:
    with pytest.raises(EventError, match=r"Missing required parameter: 'session\.type'\."):
        updated_session(initial_session(None), {"instructions": ""}, model_fixed=False, audio_sent=False)


def test_the_model_is_fixed_once_it_was_named() -> None:
    session = initial_session(None)
    assert update(session, model="gpt-realtime-2")["model"] == "gpt-realtime-2"
    assert update(session, model="gpt-realtime", model_fixed=True)["model"] == "gpt-realtime"
    with pytest.raises(EventError, match="Cannot update a session's model") as caught:
        update(session, model="other", model_fixed=True)
    assert caught.value.code == "cannot_update_model"


def test_the_voice_is_fixed_once_the_model_has_spoken() -> None:
    session = initial_session(None)
    audio = {"output": {"voice": "marin"}}
    assert update(session, audio=audio)["audio"]["output"]["voice"] == "marin"
    with pytest.raises(EventError, match="if assistant audio is present") as caught:
        update(session, audio=audio, audio_sent=True)
    assert caught.value.code == "cannot_update_voice"


def test_tracing_is_fixed_once_enabled() -> None:
    session = update(initial_session(None), tracing="auto")
    assert update(session, tracing="auto")["tracing"] == "auto"
    with pytest.raises(EventError, match="Cannot update tracing"):
        update(session, tracing=None)


def test_parameters_of_a_response_are_checked_with_its_path() -> None:
    check_response({"conversation": "none", "metadata": {"a": "b"}, "audio": {"output": {"voice": "cedar"}}})
    with pytest.raises(EventError, match=r"Unknown parameter: 'response\.voice'\."):
        check_response({"voice": "cedar"})


def test_the_session_of_the_javascript_sdk_is_accepted() -> None:
    session = update(
        initial_session(None),
        instructions="You are helpful.",
        model="gpt-realtime-2.1",
        output_modalities=["audio"],
        audio={
            "input": {
                "format": {"type": "audio/pcm", "rate": 24000},
                "noise_reduction": None,
                "transcription": {"model": "gpt-4o-mini-transcribe"},
                "turn_detection": {"type": "semantic_vad"},
            },
            "output": {"format": {"type": "audio/pcm", "rate": 24000}, "speed": 1},
        },
        tool_choice="auto",
        tools=[{"type": "function", "name": "f", "description": "", "parameters": {"type": "object"}}],
    )
    assert session["audio"]["input"]["transcription"] == {"model": "gpt-4o-mini-transcribe"}
    assert session["audio"]["output"]["voice"] == "alloy"
