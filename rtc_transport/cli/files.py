"""Checks of what the command line names: files that must be there, and files that will be written."""

import json
import tempfile
import wave
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

from rtc_transport.errors import ConfigError, TransportError
from rtc_transport.events import to_wire
from rtc_transport.report import require_matplotlib
from rtc_transport.session import SessionConfig, merge

from .eventlog import EventLog


class OutputError(TransportError):
    """A file that the command line names cannot be written; the text says which and why."""

    def __init__(self, path: Path, error: OSError) -> None:
        missing = isinstance(error, FileNotFoundError)
        reason = "its folder does not exist" if missing else (error.strerror or str(error)).lower()
        super().__init__(f"cannot write {path}: {reason}")


def open_events(path: Path) -> EventLog:
    """The event log; raises `OutputError`, and so says of its `failure` later."""
    try:
        return EventLog(path)
    except OSError as error:
        raise OutputError(path, error) from error


def check_report(path: Path | None) -> None:
    """Raises `ReportError` or `OutputError` before the call, if the picture could not be made after it."""
    if path is None:
        return
    require_matplotlib()
    try:
        if path.exists():
            path.open("ab").close()
        else:
            tempfile.TemporaryFile(dir=path.parent).close()
    except OSError as error:
        raise OutputError(path, error) from error


def wav_seconds(path: Path | None) -> float:
    """How long the sound in a file of ours is; 0 without one, or if it could not be written."""
    if path is None:
        return 0.0
    try:
        with wave.open(str(path)) as file:
            frames, rate_hz = file.getnframes(), file.getframerate()
            return float(frames / rate_hz)
    except (OSError, EOFError, wave.Error):
        return 0.0


def same_file(named: Mapping[str, Path | None]) -> str | None:
    """The two options that name one and the same file, in words; None if there are none."""
    seen: dict[Path, str] = {}
    for option, path in named.items():
        if path is None:
            continue
        if (other := seen.setdefault(path.resolve(), option)) != option:
            return f"{other} and {option}"
    return None


def read_session(path: Path | None, *, voice: str | None, instructions: str | None) -> SessionConfig:
    """The session in a JSON file, with what the options say put over it. Raises `ConfigError` that names the file."""
    given: dict[str, Any] = {}
    if path is not None:
        given = _read_object(path)
    over: dict[str, Any] = {}
    if instructions is not None:
        over["instructions"] = instructions
    if voice is not None:
        over["audio"] = {"output": {"voice": voice}}
    try:
        return SessionConfig.coerce(merge(to_wire(SessionConfig.coerce(given)), over))
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}" if path is not None else str(error), error.field) from error


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number")


def _read_object(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"), parse_constant=_no_constant)
    except OSError as error:
        raise ConfigError(f"{path}: {(error.strerror or str(error)).lower()}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8 text") from error
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: not JSON: {error}") from error
    if not isinstance(value, Mapping):
        raise ConfigError(f"{path}: a session is a JSON object")
    return dict(value)
