"""What may stand in the service's ``session`` object and in a ``response.create``: names, types and ranges.

The names are those of `openai.types.realtime`; unknown ones are refused, as the service does.
"""

from typing import Any

from .problems import (
    Check,
    EventError,
    anything,
    between,
    check_type,
    fields,
    list_of,
    map_of,
    nullable,
    of_type,
    one_of,
    required,
)

_text, _flag, _object = of_type(str), of_type(bool), of_type(dict)

TURN_DETECTION: dict[str, Check] = {
    "server_vad": fields(
        type=_text,
        threshold=between(0, 1),
        prefix_padding_ms=between(0, 10_000, whole=True),
        silence_duration_ms=between(20, 10_000, whole=True),
        idle_timeout_ms=nullable(between(5_000, 30_000, whole=True)),
        create_response=_flag,
        interrupt_response=_flag,
    ),
    "semantic_vad": fields(
        type=_text,
        eagerness=one_of("low", "medium", "high", "auto"),
        create_response=_flag,
        interrupt_response=_flag,
    ),
}
"""By the kind of turn detection."""


def _turn_detection(value: Any, param: str) -> None:
    check_type(value, param, dict)
    if "type" in value:  # without one the update is about the kind that is in force: checked after the merge
        one_of(*TURN_DETECTION)(value["type"], f"{param}.type")
        TURN_DETECTION[value["type"]](value, param)


def _format(value: Any, param: str) -> None:
    check_type(value, param, dict)
    one_of("audio/pcm", "audio/pcmu", "audio/pcma")(required(value, "type", str, param), f"{param}.type")
    allowed = {"rate": one_of(24000)} if value["type"] == "audio/pcm" else {}
    fields(type=_text, **allowed)(value, param)


def _voice(value: Any, param: str) -> None:
    if isinstance(value, dict):
        fields(id=_text)(value, param)
    elif not isinstance(value, str) or not value:
        raise EventError(
            "invalid_value",
            f"Invalid value for '{param}': expected a voice name or an object with its id.",
            param,
        )


def _max_output_tokens(value: Any, param: str) -> None:
    if value != "inf":
        between(1, 4096, whole=True)(value, param)


def _or_object(words: Check, of: Check) -> Check:
    """One of a few words, or an object."""
    return lambda value, param: (of if isinstance(value, dict) else words)(value, param)


_TOOL_FILTER = fields(tool_names=list_of(_text), read_only=_flag)
_TOOLS: dict[str, tuple[str, Check]] = {
    "function": ("name", fields(type=_text, name=_text, description=nullable(_text), parameters=anything)),
    "mcp": (
        "server_label",
        fields(
            type=_text,
            server_label=_text,
            server_url=nullable(_text),
            server_description=nullable(_text),
            connector_id=nullable(_text),
            tunnel_id=nullable(_text),
            authorization=nullable(_text),
            headers=nullable(map_of(_text)),
            allowed_callers=nullable(list_of(one_of("direct", "programmatic"))),
            allowed_tools=nullable(_or_object(list_of(_text), _TOOL_FILTER)),
            require_approval=nullable(
                _or_object(one_of("always", "never"), fields(always=_TOOL_FILTER, never=_TOOL_FILTER))
            ),
            defer_loading=_flag,
        ),
    ),
}
"""By the kind of tool: what it must have, and all that it may have."""


def _tool(value: Any, param: str) -> None:
    check_type(value, param, dict)
    kind = required(value, "type", str, param)
    one_of(*_TOOLS)(kind, f"{param}.type")
    name, check = _TOOLS[kind]
    required(value, name, str, param)
    check(value, param)


def _chosen_tool(value: Any, param: str) -> None:
    kind = required(value, "type", str, param)
    one_of(*_TOOLS)(kind, f"{param}.type")
    required(value, _TOOLS[kind][0], str, param)
    allowed = {"server_label": _text} if kind == "mcp" else {}
    fields(type=_text, name=_text, **allowed)(value, param)


def _content(value: Any, param: str) -> None:
    one_of("input_text", "input_image", "input_file")(required(value, "type", str, param), f"{param}.type")


def _prompt(value: Any, param: str) -> None:
    variables = nullable(map_of(_or_object(_text, _content)))
    fields(id=_text, version=nullable(_text), variables=variables)(value, param)
    required(value, "id", str, param)


def _retention(value: Any, param: str) -> None:
    limits = nullable(fields(post_instructions=between(0, 1_000_000, whole=True)))
    fields(type=one_of("retention_ratio"), retention_ratio=between(0, 1), token_limits=limits)(value, param)
    required(value, "type", str, param)
    if "retention_ratio" not in value:
        required(value, "retention_ratio", float, param)


_ANY_RESPONSE: dict[str, Check] = {
    "instructions": _text,
    "output_modalities": one_of(["audio"], ["text"]),
    "tools": list_of(_tool),
    "tool_choice": _or_object(one_of("none", "auto", "required"), _chosen_tool),
    "parallel_tool_calls": _flag,
    "max_output_tokens": _max_output_tokens,
    "prompt": nullable(_prompt),
    "reasoning": nullable(fields(effort=one_of("minimal", "low", "medium", "high", "xhigh"))),
}

SESSION = fields(
    type=one_of("realtime"),
    model=_text,
    include=nullable(list_of(one_of("item.input_audio_transcription.logprobs"))),
    tracing=nullable(
        _or_object(one_of("auto"), fields(workflow_name=_text, group_id=_text, metadata=nullable(_object)))
    ),
    truncation=_or_object(one_of("auto", "disabled"), _retention),
    audio=fields(
        input=fields(
            format=_format,
            transcription=nullable(
                fields(
                    model=_text,
                    language=nullable(_text),
                    languages=nullable(list_of(_text)),
                    prompt=nullable(_text),
                    keywords=nullable(list_of(_text)),
                    delay=nullable(one_of("minimal", "low", "medium", "high", "xhigh")),
                )
            ),
            noise_reduction=nullable(
                fields(type=one_of("near_field", "far_field"), strength=nullable(between(0, 1)))
            ),
            turn_detection=nullable(_turn_detection),
        ),
        output=fields(format=_format, voice=_voice, speed=between(0.25, 1.5)),
    ),
    **_ANY_RESPONSE,
)
"""The ``session`` of a call or of an update."""

RESPONSE = fields(
    conversation=_text,
    input=of_type(list),
    metadata=nullable(map_of(_text)),
    audio=fields(output=fields(format=_format, voice=_voice)),
    **_ANY_RESPONSE,
)
"""The ``response`` of a ``response.create``."""
