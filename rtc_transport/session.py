"""The configuration of a session: what we ask for, what the service makes of it, and what cannot be asked.

A configuration is partial: only the fields that were given travel, and an explicit None travels as null. The rules
are those of the service's reference for the session object; `merge`, `diff` and `check_update` work on the wire form
(plain dicts), which both ends of a connection have.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import ValidationError

from .errors import ConfigError
from .events.base import TypedModel, WireModel, to_wire
from .events.session_objects import SessionFields
from .events.transport import Mismatch
from .session_legacy import translated

Wire = Mapping[str, Any]


class SessionConfig(SessionFields, TypedModel):
    """What a session should be; every field optional, unknown fields passed on as they are.

    The flat names of the beta API (`voice`, `turn_detection`, `modalities`, ...) are translated with a
    `DeprecationWarning`. Raises `ConfigError` with one line that names the field, for values that the service refuses.
    """

    type: Literal["realtime"] = "realtime"
    """Always `realtime`."""

    if not TYPE_CHECKING:  # type checkers see the fields instead

        def __init__(self, /, **fields: Any) -> None:
            try:
                super().__init__(**translated(fields))
                _check(to_wire(self))
            except ValidationError as exc:
                raise _config_error(exc) from exc
            except TypeError as exc:  # a value in an unknown field
                raise ConfigError(f"session is not JSON: {exc.__cause__}") from exc

    @classmethod
    def coerce(cls, config: Self | Wire | None) -> Self:
        """The configuration in an object, a mapping of its fields, or None for an empty one."""
        if isinstance(config, cls):
            return config
        if config is None:
            return cls()
        if not isinstance(config, Mapping):
            raise ConfigError(
                f"session must be a SessionConfig or a dict of fields, not {type(config).__name__}"
            )
        for name in config:
            if not isinstance(name, str):
                raise ConfigError(f"the names of session's fields must be text, not {type(name).__name__}")
        return cls(**config)

    @classmethod
    def agents_js(cls, **fields: Any) -> Self:
        """The defaults that the Agents SDK for JavaScript sends with every configuration, `fields` merged into them."""
        pcm = {"type": "audio/pcm", "rate": 24000}
        defaults = {
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
        return cls(**merge(defaults, cls(**fields)))

    def to_update(self) -> dict[str, Any]:
        """The `session` of a `session.update`: `type` and the given fields, never `model`, which cannot change."""
        return {name: value for name, value in to_wire(self).items() if name != "model"}


# What the service does with an update


def merge(base: Wire, update: SessionConfig | Wire) -> dict[str, Any]:
    """`base` after `update`, both in wire form.

    Objects merge field by field; arrays, values, null and objects that are a choice as a whole replace what was
    there, and so does an object of another `type`.
    """
    merged = dict(base)
    for name, new in _wire(update).items():
        old = merged.get(name)
        merged[name] = merge(old, new) if isinstance(old, Mapping) and _merges(name, old, new) else new
    return merged


_CHOICES = frozenset({"prompt", "tool_choice", "tracing", "truncation"})
"""Objects in which old fields would not fit the new ones."""


def _merges(name: str, old: Wire, new: Any) -> bool:
    return (
        name not in _CHOICES
        and isinstance(new, Mapping)
        and new.get("type", old.get("type")) == old.get("type")
    )


def diff(requested: SessionConfig | Wire, acknowledged: WireModel | Wire) -> list[Mismatch]:
    """The requested fields that the acknowledged session has otherwise, or not at all.

    What the service added is no difference. Secrets (`authorization`, `headers` of MCP servers) are neither compared,
    as the service does not repeat them, nor shown.
    """
    fields = dict(_wire(requested))
    fields.pop("type", None)  # not every server repeats it
    return list(_differences("", fields, _wire(acknowledged)))


_SECRETS = frozenset({"authorization", "headers"})


def _differences(path: str, requested: Any, got: Any) -> Iterator[Mismatch]:
    if isinstance(requested, Mapping) and isinstance(got, Mapping):
        for name, value in requested.items():
            if name not in _SECRETS:
                yield from _differences(f"{path}.{name}" if path else name, value, got.get(name))
    elif isinstance(requested, list) and isinstance(got, list) and len(requested) == len(got):
        for index, (value, other) in enumerate(zip(requested, got, strict=True)):
            yield from _differences(f"{path}[{index}]", value, other)
    elif not _same(requested, got):
        yield Mismatch(path, _without_secrets(requested), _without_secrets(got))


def _same(requested: Any, got: Any) -> bool:
    if isinstance(requested, float) and isinstance(got, int | float):
        return math.isclose(requested, got, rel_tol=1e-6)  # may have passed through single precision
    return bool(requested == got)


def _without_secrets(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: "***" if name in _SECRETS else _without_secrets(inner) for name, inner in value.items()}
    return [_without_secrets(inner) for inner in value] if isinstance(value, list) else value


def check_update(current: WireModel | Wire, update: SessionConfig | Wire, *, audio_sent: bool) -> None:
    """Raises `ConfigError` for a change that the service refuses in a running session.

    `current` is the session as last acknowledged; `audio_sent` tells whether the model has spoken in it. What
    `current` does not tell is left for the service to judge, except `model`, which is never sent.
    """
    now, new = _wire(current), _wire(update)
    model = new.get("model")
    if model is not None and model != now.get("model"):
        raise ConfigError("session.model cannot change during a session: connect again with it", "model")
    voice, wanted = _at(now, "audio.output.voice"), _at(new, "audio.output.voice")
    if audio_sent and wanted is not _ABSENT and voice is not _ABSENT and wanted != voice:
        raise ConfigError(
            "session.audio.output.voice cannot change after the model has spoken: connect again with it",
            "audio.output.voice",
        )
    tracing = now.get("tracing")
    if tracing is not None and new.get("tracing", tracing) != tracing:
        raise ConfigError(
            "session.tracing cannot change once it is enabled: connect again with it", "tracing"
        )


# What the service refuses in any session

_ABSENT = object()


def _wire(config: WireModel | Wire) -> Wire:
    return to_wire(config) if isinstance(config, WireModel) else config


def _at(config: Any, path: str) -> Any:
    for name in path.split("."):
        if not isinstance(config, Mapping) or name not in config:
            return _ABSENT
        config = config[name]
    return config


_Rule = tuple[Callable[[Any], bool], str]


def _one_of(*values: str) -> _Rule:
    return (lambda value: isinstance(value, Mapping) or value in values), f"must be {' or '.join(values)}"


def _within(low: float, high: float) -> _Rule:
    return (lambda value: low <= value <= high), f"must be between {low:g} and {high:g}"


_FORMAT = _one_of("audio/pcm", "audio/pcmu", "audio/pcma")
_RATE: _Rule = (lambda rate: rate == 24000), "must be 24000"
_DURATION: _Rule = (lambda duration: duration >= 0), "must not be negative"

_RULES: dict[str, _Rule] = {
    "output_modalities": (lambda chosen: chosen in (["audio"], ["text"]), 'must be ["audio"] or ["text"]'),
    "max_output_tokens": (
        lambda tokens: tokens == "inf" or (isinstance(tokens, int) and tokens > 0),
        'must be a positive integer or "inf"',
    ),
    "tool_choice": _one_of("none", "auto", "required"),
    "tool_choice.type": _one_of("function", "mcp"),
    "tracing": _one_of("auto"),
    "truncation": _one_of("auto", "disabled"),
    "truncation.type": _one_of("retention_ratio"),
    "truncation.retention_ratio": _within(0, 1),
    "audio.input.format.type": _FORMAT,
    "audio.input.format.rate": _RATE,
    "audio.output.format.type": _FORMAT,
    "audio.output.format.rate": _RATE,
    "audio.output.speed": _within(0.25, 1.5),
    "audio.input.noise_reduction.type": _one_of("near_field", "far_field"),
    "audio.input.turn_detection": (lambda detection: "type" in detection, "needs a type"),
    "audio.input.turn_detection.type": _one_of("server_vad", "semantic_vad"),
    "audio.input.turn_detection.eagerness": _one_of("low", "medium", "high", "auto"),
    "audio.input.turn_detection.threshold": _within(0, 1),
    "audio.input.turn_detection.prefix_padding_ms": _DURATION,
    "audio.input.turn_detection.silence_duration_ms": _DURATION,
    "audio.input.turn_detection.idle_timeout_ms": _DURATION,
}


def _check(config: Wire) -> None:
    for path, (holds, demand) in _RULES.items():
        value = _at(config, path)
        if value is not _ABSENT and value is not None and not holds(value):
            raise ConfigError(f"session.{path} {demand}, not {value!r}", path)
    for index, tool in enumerate(config.get("tools") or ()):
        if tool.get("type") == "function" and not tool.get("name"):
            raise ConfigError(f"session.tools[{index}].name is missing", f"tools[{index}].name")


def _config_error(error: ValidationError) -> ConfigError:
    """One line for the first field that is wrong; the alternatives of a union are one field."""
    problems = [(_path(problem["loc"]), problem["msg"]) for problem in error.errors(include_input=False)]
    path = problems[0][0]
    texts = [text for where, text in problems if where == path]
    demand = " or ".join(dict.fromkeys(text.removeprefix("Input should be ") for text in texts))
    verb = "is required" if demand == "Field required" else f"should be {demand}"
    return ConfigError(f"session.{path} {verb}".replace("a valid tuple", "a list"), path)


def _path(location: tuple[int | str, ...]) -> str:
    """A dotted path without the names of classes and types that pydantic adds for unions."""
    parts = [
        f"[{part}]" if isinstance(part, int) else f".{part}"
        for part in location
        if isinstance(part, int) or (part.islower() and part not in ("str", "int", "constrained-int"))
    ]
    return "".join(parts).removeprefix(".")
