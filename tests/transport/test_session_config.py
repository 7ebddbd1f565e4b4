"""What a session may be asked for, what travels, and what the service's answer is held against."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rtc_transport.errors import ConfigError
from rtc_transport.events import (
    AudioConfig,
    AudioInput,
    AudioOutput,
    FunctionTool,
    McpServerTool,
    Session,
    TurnDetection,
    to_wire,
)
from rtc_transport.session import SessionConfig, check_update, diff, merge

# What travels


def test_nothing_given_is_just_the_type() -> None:
    assert SessionConfig().to_update() == {"type": "realtime"}
    assert SessionConfig.coerce(None).to_update() == {"type": "realtime"}


def test_only_given_fields_travel_and_the_model_never_in_an_update() -> None:
    config = SessionConfig(model="gpt-realtime", instructions="", tools=[])
    assert config.to_update() == {"type": "realtime", "instructions": "", "tools": []}
    assert to_wire(config) == {"type": "realtime", "model": "gpt-realtime", "instructions": "", "tools": []}


def test_an_explicit_none_travels_as_null() -> None:
    config = SessionConfig(audio=AudioConfig(input=AudioInput(turn_detection=None)), tracing=None)
    assert config.to_update() == {
        "type": "realtime",
        "audio": {"input": {"turn_detection": None}},
        "tracing": None,
    }


def test_models_and_dicts_are_the_same_configuration() -> None:
    models = SessionConfig(
        audio=AudioConfig(
            input=AudioInput(turn_detection=TurnDetection(type="semantic_vad", eagerness="low")),
            output=AudioOutput(voice="marin"),
        ),
        tools=[FunctionTool(name="time", parameters={"type": "object"})],
    )
    dicts = SessionConfig.coerce(
        {
            "audio": {
                "input": {"turn_detection": {"type": "semantic_vad", "eagerness": "low"}},
                "output": {"voice": "marin"},
            },
            "tools": [{"type": "function", "name": "time", "parameters": {"type": "object"}}],
        }
    )
    assert models == dicts
    assert models.to_update() == dicts.to_update()
    assert SessionConfig.coerce(models) is models


def test_unknown_fields_pass_on_every_level() -> None:
    fields = {
        "later": {"a": [1]},
        "audio": {"input": {"turn_detection": {"type": "semantic_vad", "idleTimeoutMs": 5}}},
    }
    assert SessionConfig.coerce(fields).to_update() == {"type": "realtime", **fields}


def test_the_javascript_defaults_are_a_preset() -> None:
    pcm = {"type": "audio/pcm", "rate": 24000}
    assert SessionConfig.agents_js().to_update() == {
        "type": "realtime",
        "output_modalities": ["audio"],
        "audio": {
            "input": {
                "format": pcm,
                "noise_reduction": None,
                "transcription": {"model": "gpt-4o-mini-transcribe"},
                "turn_detection": {"type": "semantic_vad"},
            },
            "output": {"format": pcm, "speed": 1},
        },
    }


def test_fields_given_to_the_preset_merge_into_it() -> None:
    update = SessionConfig.agents_js(
        instructions="Be brief.", audio={"input": {"turn_detection": None}, "output": {"voice": "ash"}}
    ).to_update()
    assert update["instructions"] == "Be brief."
    assert update["audio"]["input"]["turn_detection"] is None
    assert update["audio"]["input"]["transcription"] == {"model": "gpt-4o-mini-transcribe"}
    assert (update["audio"]["output"]["voice"], update["audio"]["output"]["speed"]) == ("ash", 1)


# What is refused

REFUSED: list[tuple[dict[str, Any], str, str]] = [
    ({"instructions": 4}, "instructions", "session.instructions should be a valid string"),
    ({"type": "transcription"}, "type", "session.type should be 'realtime'"),
    (
        {"audio": 5},
        "audio",
        "session.audio should be a valid dictionary or instance of AudioConfig",
    ),
    (
        {"audio": {"output": {"voice": 5}}},
        "audio.output.voice",
        "session.audio.output.voice should be a valid string or a valid dictionary or instance of VoiceId",
    ),
    (
        {"audio": {"output": {"speed": 2}}},
        "audio.output.speed",
        "session.audio.output.speed must be between 0.25 and 1.5, not 2.0",
    ),
    (
        {"audio": {"output": {"speed": float("nan")}}},
        "audio.output.speed",
        "session.audio.output.speed should be a finite number",
    ),
    (
        {"audio": {"input": {"format": {"type": "opus"}}}},
        "audio.input.format.type",
        "session.audio.input.format.type must be audio/pcm or audio/pcmu or audio/pcma, not 'opus'",
    ),
    (
        {"audio": {"output": {"format": {"type": "audio/pcm", "rate": 16000}}}},
        "audio.output.format.rate",
        "session.audio.output.format.rate must be 24000, not 16000",
    ),
    (
        {"audio": {"input": {"turn_detection": {"threshold": 0.5}}}},
        "audio.input.turn_detection",
        "session.audio.input.turn_detection needs a type, not {'threshold': 0.5}",
    ),
    (
        {"audio": {"input": {"turn_detection": {"type": "vad"}}}},
        "audio.input.turn_detection.type",
        "session.audio.input.turn_detection.type must be server_vad or semantic_vad, not 'vad'",
    ),
    (
        {"audio": {"input": {"turn_detection": {"type": "server_vad", "threshold": -1}}}},
        "audio.input.turn_detection.threshold",
        "session.audio.input.turn_detection.threshold must be between 0 and 1, not -1.0",
    ),
    (
        {"audio": {"input": {"turn_detection": {"type": "server_vad", "silence_duration_ms": -5}}}},
        "audio.input.turn_detection.silence_duration_ms",
        "session.audio.input.turn_detection.silence_duration_ms must not be negative, not -5",
    ),
    (
        {"output_modalities": ["text", "audio"]},
        "output_modalities",
        """session.output_modalities must be ["audio"] or ["text"], not ['text', 'audio']""",
    ),
    ({"output_modalities": "audio"}, "output_modalities", "session.output_modalities should be a list"),
    ({"include": [5]}, "include[0]", "session.include[0] should be a valid string"),
    (
        {"max_output_tokens": 0},
        "max_output_tokens",
        'session.max_output_tokens must be a positive integer or "inf", not 0',
    ),
    (
        {"tool_choice": "any"},
        "tool_choice",
        "session.tool_choice must be none or auto or required, not 'any'",
    ),
    (
        {"tool_choice": {"type": "x"}},
        "tool_choice.type",
        "session.tool_choice.type must be function or mcp, not 'x'",
    ),
    ({"tracing": "on"}, "tracing", "session.tracing must be auto, not 'on'"),
    (
        {"truncation": {"type": "retention_ratio", "retention_ratio": 3}},
        "truncation.retention_ratio",
        "session.truncation.retention_ratio must be between 0 and 1, not 3.0",
    ),
    ({"tools": [{"type": "function"}]}, "tools[0].name", "session.tools[0].name is missing"),
    ({"tools": [{"type": "mcp"}]}, "tools[0].server_label", "session.tools[0].server_label is required"),
    ({"prompt": {}}, "prompt.id", "session.prompt.id is required"),
]


@pytest.mark.parametrize(("fields", "field", "message"), REFUSED, ids=lambda value: str(value)[:40])
def test_what_the_service_refuses_is_one_line_that_names_the_field(
    fields: dict[str, Any], field: str, message: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        SessionConfig(**fields)
    assert (str(caught.value), caught.value.field) == (message, field)
    with pytest.raises(ConfigError):
        SessionConfig.coerce(fields)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ([1], "session must be a SessionConfig or a dict of fields, not list"),
        ("text", "session must be a SessionConfig or a dict of fields, not str"),
        ({1: 2}, "the names of session's fields must be text, not int"),
        ({"later": object()}, "session is not JSON: Unable to serialize unknown type: <class 'object'>"),
    ],
)
def test_what_is_no_configuration_at_all(config: Any, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        SessionConfig.coerce(config)
    assert str(caught.value) == message


def test_no_error_and_no_repr_shows_a_secret() -> None:
    with pytest.raises(ConfigError) as caught:
        SessionConfig(tools=[{"type": "mcp", "server_label": "s", "authorization": ["sk-secret"]}])
    assert str(caught.value) == "session.tools[0].authorization should be a valid string"
    assert "sk-secret" not in str(caught.value.__cause__)
    config = SessionConfig(tools=[McpServerTool(server_label="s", authorization="sk-secret")])
    assert "sk-secret" not in repr(config)
    assert config.to_update()["tools"][0]["authorization"] == "sk-secret"


# The names of the beta API


def test_flat_names_are_translated_with_a_warning_for_each() -> None:
    with pytest.warns(DeprecationWarning, match=r"session\..*") as warned:
        config = SessionConfig.coerce(
            {
                "modalities": ["text", "audio"],
                "voice": "ash",
                "speed": 1.2,
                "input_audio_format": "pcm16",
                "output_audio_format": "g711_ulaw",
                "input_audio_transcription": {"model": "whisper-1"},
                "input_audio_noise_reduction": None,
                "turn_detection": None,
                "max_response_output_tokens": 100,
                "temperature": 0.8,
                "instructions": "Be brief.",
            }
        )
    assert config.to_update() == {
        "type": "realtime",
        "instructions": "Be brief.",
        "output_modalities": ["audio"],
        "max_output_tokens": 100,
        "audio": {
            "input": {
                "format": {"type": "audio/pcm", "rate": 24000},
                "transcription": {"model": "whisper-1"},
                "noise_reduction": None,
                "turn_detection": None,
            },
            "output": {"voice": "ash", "speed": 1.2, "format": {"type": "audio/pcmu"}},
        },
    }
    texts = [str(warning.message) for warning in warned]
    assert len(texts) == 10
    assert "session.voice is now session.audio.output.voice" in texts
    assert "session.temperature is gone from the service and not sent" in texts


@pytest.mark.parametrize("make", [lambda fields: SessionConfig(**fields), SessionConfig.coerce])
def test_the_warning_points_at_the_caller(make: Callable[[dict[str, str]], SessionConfig]) -> None:
    with pytest.warns(DeprecationWarning, match="voice") as warned:
        make({"voice": "ash"})
    assert warned[0].filename == __file__


def test_flat_names_join_the_new_ones_but_never_override_them() -> None:
    with pytest.warns(DeprecationWarning, match="voice"):
        config = SessionConfig(voice="ash", audio=AudioConfig(output=AudioOutput(speed=1.1)))
    assert config.to_update()["audio"] == {"output": {"speed": 1.1, "voice": "ash"}}
    message = "session.audio.output.voice is given twice, also by its old name"
    with pytest.warns(DeprecationWarning, match="voice"), pytest.raises(ConfigError, match=message):
        SessionConfig(voice="ash", audio={"output": {"voice": "marin"}})


def test_an_unknown_old_format_is_refused() -> None:
    message = "session.input_audio_format must be pcm16 or g711_ulaw or g711_alaw, not 'opus'"
    with pytest.warns(DeprecationWarning, match="format"), pytest.raises(ConfigError, match=message):
        SessionConfig(input_audio_format="opus")


# Merging as the service does

EFFECTIVE: dict[str, Any] = {
    "type": "realtime",
    "model": "gpt-realtime",
    "tools": [{"type": "function", "name": "a"}, {"type": "function", "name": "b"}],
    "tool_choice": {"type": "function", "name": "a"},
    "prompt": {"id": "p", "version": "2", "variables": {"x": "1"}},
    "audio": {
        "input": {
            "format": {"type": "audio/pcm", "rate": 24000},
            "transcription": {"model": "whisper-1", "language": "de"},
            "turn_detection": {"type": "semantic_vad", "eagerness": "low"},
        },
        "output": {"voice": "ash", "speed": 1.0},
    },
}


@pytest.mark.parametrize(
    ("update", "path", "expected"),
    [
        ({"audio": {"output": {"speed": 1.2}}}, ("audio", "output"), {"voice": "ash", "speed": 1.2}),
        (
            {"audio": {"input": {"transcription": {"model": "gpt-4o-transcribe"}}}},
            ("audio", "input", "transcription"),
            {"model": "gpt-4o-transcribe", "language": "de"},
        ),
        ({"audio": {"input": {"turn_detection": None}}}, ("audio", "input", "turn_detection"), None),
        (
            {"audio": {"input": {"turn_detection": {"type": "server_vad"}}}},
            ("audio", "input", "turn_detection"),
            {"type": "server_vad"},
        ),
        (
            {"audio": {"input": {"format": {"type": "audio/pcmu"}}}},
            ("audio", "input", "format"),
            {"type": "audio/pcmu"},
        ),
        ({"tools": []}, ("tools",), []),
        ({"tool_choice": "none"}, ("tool_choice",), "none"),
        ({"prompt": {"id": "q"}}, ("prompt",), {"id": "q"}),
        ({"later": {"x": 1}}, ("later",), {"x": 1}),
    ],
)
def test_merge(update: dict[str, Any], path: tuple[str, ...], expected: Any) -> None:
    merged: Any = merge(EFFECTIVE, update)
    assert {name: merged[name] for name in EFFECTIVE if name not in update} == {
        name: value for name, value in EFFECTIVE.items() if name not in update
    }
    for name in path:
        merged = merged[name]
    assert merged == expected


def test_turn_detection_comes_back_on_after_off() -> None:
    off = merge(EFFECTIVE, {"audio": {"input": {"turn_detection": None}}})
    on = merge(off, SessionConfig(audio={"input": {"turn_detection": {"type": "server_vad"}}}))
    assert on["audio"]["input"]["turn_detection"] == {"type": "server_vad"}
    assert EFFECTIVE["audio"]["input"]["turn_detection"]["eagerness"] == "low"


WIRE = st.recursive(
    st.none() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=8,
)
OBJECTS = st.dictionaries(st.sampled_from("abc"), WIRE, max_size=3)


@settings(deadline=None, derandomize=True)
@given(OBJECTS, OBJECTS)
def test_what_was_merged_shows_no_difference(base: dict[str, Any], update: dict[str, Any]) -> None:
    merged = merge(base, update)
    assert diff(update, merged) == []
    assert merge(merged, update) == merged


# What the service made of it


def test_a_faithful_acknowledgement_with_defaults_has_no_difference() -> None:
    config = SessionConfig.agents_js(tools=[FunctionTool(name="a")], tracing=None)
    acknowledged = {
        "id": "sess_1",
        "tools": [{"type": "function", "name": "a", "description": "", "strict": False}],
        **{
            name: value
            for name, value in config.to_update().items()
            if name not in ("tools", "type", "tracing")
        },
    }
    assert diff(config, acknowledged) == []


def test_changed_and_ignored_fields_are_named() -> None:
    config = SessionConfig(
        instructions="Be brief.",
        audio={"output": {"voice": "nova", "speed": 1.1}, "input": {"turn_detection": None}},
        tools=[FunctionTool(name="a"), FunctionTool(name="b")],
    )
    acknowledged = Session.model_validate(
        {
            "audio": {
                "output": {"voice": "alloy", "speed": 1.100000023841858},
                "input": {"turn_detection": {"type": "server_vad"}},
            },
            "tools": [{"type": "function", "name": "a"}, {"type": "function", "name": "c"}],
        }
    )
    assert sorted(diff(config.to_update(), acknowledged)) == [
        ("audio.input.turn_detection", None, {"type": "server_vad"}),
        ("audio.output.voice", "nova", "alloy"),
        ("instructions", "Be brief.", None),
        ("tools[1].name", "b", "c"),
    ]


def test_secrets_are_neither_missed_nor_shown() -> None:
    tool = McpServerTool(server_label="s", authorization="sk-secret", headers={"X-Key": "sk-secret"})
    config = SessionConfig(tools=[tool])
    assert diff(config, {"tools": [{"type": "mcp", "server_label": "s"}]}) == []
    (mismatch,) = diff(config, {"tools": []})
    assert mismatch.requested == [
        {"type": "mcp", "server_label": "s", "authorization": "***", "headers": "***"},
    ]


# What cannot change


@pytest.mark.parametrize(
    ("update", "audio_sent", "field"),
    [
        ({"model": "gpt-realtime-mini"}, False, "model"),
        ({"audio": {"output": {"voice": "marin"}}}, True, "audio.output.voice"),
        ({"audio": {"output": {"voice": None}}}, True, "audio.output.voice"),
        ({"tracing": {"group_id": "g"}}, False, "tracing"),
        ({"tracing": None}, False, "tracing"),
    ],
)
def test_a_change_that_the_service_refuses_in_a_running_session(
    update: dict[str, Any], audio_sent: bool, field: str
) -> None:
    current = {**EFFECTIVE, "tracing": "auto"}
    with pytest.raises(
        ConfigError, match=f"session.{field} cannot change .*: connect again with it"
    ) as caught:
        check_update(current, update, audio_sent=audio_sent)
    assert caught.value.field == field


@pytest.mark.parametrize(
    ("current", "update", "audio_sent"),
    [
        (EFFECTIVE, {"model": "gpt-realtime"}, True),
        (EFFECTIVE, {"audio": {"output": {"voice": "marin"}}}, False),
        (EFFECTIVE, {"audio": {"output": {"voice": "ash", "speed": 1.4}}}, True),
        ({}, {"audio": {"output": {"voice": "marin"}}}, True),
        (EFFECTIVE, {"tracing": "auto"}, True),
        ({"tracing": None}, {"tracing": "auto"}, True),
        ({"tracing": "auto"}, {"tracing": "auto"}, True),
        (Session(model="m"), SessionConfig(instructions="x"), True),
    ],
)
def test_a_change_that_may_be_made(current: Any, update: Any, audio_sent: bool) -> None:
    check_update(current, update, audio_sent=audio_sent)
