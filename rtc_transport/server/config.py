"""The session's configuration: its defaults, the deep merge of an update and what the service refuses in one."""

import copy
from collections.abc import Mapping
from typing import Any

from .config_fields import RESPONSE, SESSION, TURN_DETECTION
from .problems import EventError, one_of, required

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


def initial_session(given: Mapping[str, Any] | None) -> dict[str, Any]:
    """The session of a call that was made with `given` (or nothing) over the service's defaults.

    Raises `EventError` for what the service would refuse.
    """
    session = _with_turn_detection(_DEFAULTS)
    if not given:
        return session
    SESSION(dict(given), "session")
    return _with_turn_detection(_merged(session, given))


def updated_session(
    session: Mapping[str, Any], update: Mapping[str, Any], *, model_fixed: bool, audio_sent: bool
) -> dict[str, Any]:
    """The session after a ``session.update``; arrays are replaced, null switches off. `session` is not changed.

    `model_fixed`: the call named its model, or an update did. `audio_sent`: the model has spoken.
    Raises `EventError`, then nothing has changed.
    """
    one_of("realtime")(required(update, "type", str, "session"), "session.type")
    SESSION(update, "session")
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
    RESPONSE(params, "response")


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
        TURN_DETECTION[kind](audio_input["turn_detection"], path)
    return filled
