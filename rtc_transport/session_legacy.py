"""The flat field names of the beta API, translated into the session object of today."""

import inspect
import warnings
from collections.abc import Mapping
from typing import Any

from .errors import ConfigError
from .events.base import WireModel, to_wire

_LEGACY: dict[str, str] = {
    "modalities": "output_modalities",
    "max_response_output_tokens": "max_output_tokens",
    "voice": "audio.output.voice",
    "speed": "audio.output.speed",
    "output_audio_format": "audio.output.format",
    "input_audio_format": "audio.input.format",
    "input_audio_transcription": "audio.input.transcription",
    "input_audio_noise_reduction": "audio.input.noise_reduction",
    "turn_detection": "audio.input.turn_detection",
}
_LEGACY_FORMATS: dict[str, dict[str, Any]] = {
    "pcm16": {"type": "audio/pcm", "rate": 24000},
    "g711_ulaw": {"type": "audio/pcmu"},
    "g711_alaw": {"type": "audio/pcma"},
}


def translated(fields: dict[str, Any]) -> dict[str, Any]:
    """`fields` with the flat names where they belong today; a warning for each."""
    modern = {name: value for name, value in fields.items() if name not in _LEGACY and name != "temperature"}
    if "temperature" in fields:
        _warn("session.temperature is gone from the service and not sent")
    for name, path in _LEGACY.items():
        if name in fields:
            _warn(f"session.{name} is now session.{path}")
            _put(modern, path, _modern(name, fields[name]))
    return modern


def _warn(text: str) -> None:
    """Warns at the line outside of this package that gave the configuration; else the warning would not be shown."""
    frame, depth = inspect.currentframe(), 1
    while frame is not None and frame.f_globals.get("__name__", "").startswith("rtc_transport."):
        frame, depth = frame.f_back, depth + 1
    warnings.warn(text, DeprecationWarning, stacklevel=depth)


def _modern(name: str, value: Any) -> Any:
    if name == "modalities" and isinstance(value, list | tuple):
        return ["audio"] if "audio" in value else list(value)  # audio includes its text today
    if name.endswith("_audio_format") and isinstance(value, str):
        if value not in _LEGACY_FORMATS:
            raise ConfigError(f"session.{name} must be {' or '.join(_LEGACY_FORMATS)}, not {value!r}", name)
        return dict(_LEGACY_FORMATS[value])
    return value


def _put(fields: dict[str, Any], path: str, value: Any) -> None:
    *parents, last = path.split(".")
    for name in parents:
        inner = fields.get(name)
        if inner is not None and not isinstance(inner, WireModel | Mapping):
            return  # wrong in itself, which validation reports
        fields[name] = _fields(inner)
        fields = fields[name]
    if last in fields:
        raise ConfigError(f"session.{path} is given twice, also by its old name", path)
    fields[last] = value


def _fields(inner: WireModel | Mapping[str, Any] | None) -> dict[str, Any]:
    return to_wire(inner) if isinstance(inner, WireModel) else dict(inner or {})
