"""The session's configuration: its defaults, the deep merge of an update and what the service refuses in one.

Field names and ranges are those of the service's ``session`` object; unknown fields are refused as the service does.
"""

import copy
from collections.abc import Mapping
from typing import Any

from .problems import (
    Check,
    EventError,
    between,
    check_type,
    fields,
    nullable,
    of_type,
    one_of,
    required,
)

DEFAULT_MODEL = "gpt-realtime"

_DEFAULTS: dict[str, Any] = {
    "type": "realtime",
    "model": DEFAULT_MODEL,
    "output_modalities": ["audio"],
    "instructions": "",
    "tools": [],
    "tool_choice": "auto",
    "max_output_tokens": "inf",
    "tracing": None,
    "truncation": "auto",
    "prompt": None,
    "include": None,
    "audio": {
        "input": {
            "format": {"type": "audio/pcm", "rate": 24000},
            "transcription": None,
            "noise_reduction": None,
            "turn_detection": {"type": "server_vad"},
        },
        "output": {"format": {"type": "audio/pcm", "rate": 24000}, "voice": "alloy", "speed": 1.0},
    },
}

_TURN_DETECTION_DEFAULTS: dict[str, dict[str, Any]] = {
    "server_vad": {
        "threshold": 0.5,
        "prefix_padding_ms": 300,
        "silence_duration_ms": 500,
        "idle_timeout_ms": None,
        "create_response": True,
        "interrupt_response": True,
    },
    "semantic_vad": {"eagerness": "auto", "create_response": True, "interrupt_response": True},
}

_TURN_DETECTION_FIELDS: dict[str, Check] = {
    "server_vad": fields(
        type=of_type(str),
        threshold=between(0, 1),
        prefix_padding_ms=between(0, 10_000, whole=True),
        silence_duration_ms=between(20, 10_000, whole=True),
        idle_timeout_ms=nullable(between(5_000, 30_000, whole=True)),
        create_response=of_type(bool),
        interrupt_response=of_type(bool),
    ),
    "semantic_vad": fields(
        type=of_type(str),
        eagerness=one_of("low", "medium", "high", "auto"),
        create_response=of_type(bool),
        interrupt_response=of_type(bool),
    ),
}


def _turn_detection(value: Any, param: str) -> None:
    check_type(value, param, dict)
    if "type" in value:  # without one the update is about the kind that is in force: checked after the merge
        one_of(*_TURN_DETECTION_FIELDS)(value["type"], f"{param}.type")
        _TURN_DETECTION_FIELDS[value["type"]](value, param)


def _format(value: Any, param: str) -> None:
    check_type(value, param, dict)
    one_of("audio/pcm", "audio/pcmu", "audio/pcma")(required(value, "type", str, param), f"{param}.type")
    allowed = {"rate": one_of(24000)} if value["type"] == "audio/pcm" else {}
    fields(type=of_type(str), **allowed)(value, param)


def _voice(value: Any, param: str) -> None:
    if isinstance(value, dict):
        fields(id=of_type(str))(value, param)
    elif not isinstance(value, str) or not value:
        raise EventError(
            "invalid_value",
            f"Invalid value for '{param}': expected a voice name or an object with its id.",
            param,
        )


def _modalities(value: Any, param: str) -> None:
    one_of(["audio"], ["text"])(value, param)


def _max_output_tokens(value: Any, param: str) -> None:
    if value != "inf":
        between(1, 4096, whole=True)(value, param)


def _tools(value: Any, param: str) -> None:
    check_type(value, param, list)
    for index, tool in enumerate(value):
        path = f"{param}[{index}]"
        check_type(tool, path, dict)
        kind = required(tool, "type", str, path)
        one_of("function", "mcp")(kind, f"{path}.type")
        required(tool, "name" if kind == "function" else "server_label", str, path)


def _tool_choice(value: Any, param: str) -> None:
    if not isinstance(value, dict):
        one_of("none", "auto", "required")(value, param)


def _string_or_object(value: Any, param: str) -> None:
    check_type(value, param, str if isinstance(value, str) else dict)


_ANY_RESPONSE: dict[str, Check] = {
    "instructions": of_type(str),
    "output_modalities": _modalities,
    "tools": _tools,
    "tool_choice": _tool_choice,
    "parallel_tool_calls": of_type(bool),
    "max_output_tokens": _max_output_tokens,
    "prompt": nullable(of_type(dict)),
    "reasoning": nullable(of_type(dict)),
}

_SESSION = fields(
    type=one_of("realtime"),
    model=of_type(str),
    include=nullable(of_type(list)),
    tracing=nullable(_string_or_object),
    truncation=_string_or_object,
    audio=fields(
        input=fields(
            format=_format,
            transcription=nullable(of_type(dict)),
            noise_reduction=nullable(of_type(dict)),
            turn_detection=nullable(_turn_detection),
        ),
        output=fields(format=_format, voice=_voice, speed=between(0.25, 1.5)),
    ),
    **_ANY_RESPONSE,
)

_RESPONSE = fields(
    conversation=of_type(str),
    input=of_type(list),
    metadata=nullable(of_type(dict)),
    audio=fields(output=fields(format=_format, voice=_voice)),
    **_ANY_RESPONSE,
)


def initial_session(given: Mapping[str, Any] | None) -> dict[str, Any]:
    """The session of a call that was made with `given` (or nothing) over the service's defaults.

    Raises `EventError` for what the service would refuse.
    """
    session = _with_turn_detection(_DEFAULTS)
    if not given:
        return session
    _SESSION(dict(given), "session")
    return _with_turn_detection(_merged(session, given))


def updated_session(
    session: Mapping[str, Any], update: Mapping[str, Any], *, model_fixed: bool, audio_sent: bool
) -> dict[str, Any]:
    """The session after a ``session.update``; arrays are replaced, null switches off. `session` is not changed.

    `model_fixed`: the call named its model, or an update did. `audio_sent`: the model has spoken.
    Raises `EventError`, then nothing has changed.
    """
    one_of("realtime")(required(update, "type", str, "session"), "session.type")
    _SESSION(update, "session")
    new = _with_turn_detection(_merged(session, update))
    if model_fixed and new["model"] != session["model"]:
        raise EventError("cannot_update_model", "Cannot update a session's model.", "session.model")
    if audio_sent and new["audio"]["output"]["voice"] != session["audio"]["output"]["voice"]:
        raise EventError(
            "cannot_update_voice",
            "Cannot update a conversation's voice if assistant audio is present.",
            "session.audio.output.voice",
        )
    if session["tracing"] is not None and new["tracing"] != session["tracing"]:
        raise EventError(
            "cannot_update_tracing", "Cannot update tracing once it is enabled.", "session.tracing"
        )
    return new


def check_response(params: Mapping[str, Any]) -> None:
    """Raises `EventError` for parameters of a ``response.create`` that the service refuses."""
    _RESPONSE(params, "response")


def _merged(base: Mapping[str, Any], update: Mapping[str, Any]) -> dict[str, Any]:
    """`update` over `base`; only ``audio`` is deep: the other objects are values, and so are those of another type."""
    merged = dict(copy.deepcopy(base))
    for key, value in update.items():
        merged[key] = _deep(merged.get(key), value) if key == "audio" else copy.deepcopy(value)
    return merged


def _deep(old: Any, new: Any) -> Any:
    if not (isinstance(old, dict) and isinstance(new, dict)) or new.get("type", old.get("type")) != old.get(
        "type"
    ):
        return copy.deepcopy(new)
    return {**old, **{key: _deep(old.get(key), value) for key, value in new.items()}}


def _with_turn_detection(session: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of `session` with the defaults of its turn detection filled in, and that checked as a whole."""
    filled = dict(copy.deepcopy(session))
    audio_input = filled["audio"]["input"]
    given = audio_input["turn_detection"]
    if given is not None:
        path = "session.audio.input.turn_detection"
        kind = required(given, "type", str, path)
        audio_input["turn_detection"] = {**_TURN_DETECTION_DEFAULTS[kind], **given}
        _TURN_DETECTION_FIELDS[kind](audio_input["turn_detection"], path)
    return filled
