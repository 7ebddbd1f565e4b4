"""From a message to an event: the one way in for everything the wire brings.

The type is looked up first and only its own model validates; a union that tries them all would answer a new type
with dozens of errors, or with the first model that happens to fit.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import ValidationError

from .base import EventModel, MalformedMessage, UnknownEvent
from .client import CLIENT_EVENTS
from .server import SERVER_EVENTS

MAX_NESTING = 128
"""Levels of objects and arrays beyond which a message is refused: deeper ones cannot be written or copied again."""

_SHOWN_ERRORS = 3
_TOO_DEEP = f"nested deeper than {MAX_NESTING} levels"
_BROKEN_NAME = "a field's name is not Unicode text"


def parse_server_event(text: str | bytes) -> EventModel:
    """The event in a message from the server.

    An unknown type, or a known one that does not fit its model, gives an `UnknownEvent` (with the `reason` for the
    latter). Raises `MalformedMessage` for what is no event at all, and nothing else.
    """
    message = _decode(text)
    return _keep_raw(_typed(message, SERVER_EVENTS, len(text)), message)


def parse_client_event(event: Mapping[str, Any] | str | bytes) -> EventModel:
    """The event in a message from a client, or in an application's mapping; lenient as `parse_server_event`.

    Of a mapping no copy is kept: `raw` is what would be sent.
    """
    if isinstance(event, str | bytes):
        message = _decode(event)
        return _keep_raw(_typed(message, CLIENT_EVENTS, len(event)), message)
    return _typed(dict(event), CLIENT_EVENTS, len(event))


def _decode(message: str | bytes) -> dict[str, Any]:
    try:
        text = (
            message if isinstance(message, str) else message.decode()
        )  # json.loads would guess UTF-16 and UTF-32
        value = json.loads(text)
    except UnicodeDecodeError as exc:
        raise MalformedMessage(f"not UTF-8 at byte {exc.start}", len(message)) from None
    except json.JSONDecodeError as exc:
        raise MalformedMessage(f"not JSON: {exc.msg} at character {exc.pos}", len(message)) from None
    except RecursionError:
        raise MalformedMessage(_TOO_DEEP, len(message)) from None
    except ValueError:  # sys.set_int_max_str_digits
        raise MalformedMessage("a number with too many digits", len(message)) from None
    if not isinstance(value, dict):
        raise MalformedMessage(f"not an object but {type(value).__name__}", len(message))
    if text.count("{") + text.count("[") > MAX_NESTING and _is_deep(value):
        raise MalformedMessage(_TOO_DEEP, len(message))
    if ("\\u" in text or not text.isascii()) and _has_broken_names(value):
        raise MalformedMessage(_BROKEN_NAME, len(message))
    return value


def _levels(value: dict[str, Any]) -> Iterator[list[Any]]:
    """The objects and arrays of a message, level by level."""
    level: list[Any] = [value]
    while level:
        yield level
        level = [
            child
            for parent in level
            for child in (parent.values() if isinstance(parent, dict) else parent)
            if isinstance(child, dict | list)
        ]


def _is_deep(value: dict[str, Any]) -> bool:
    return any(depth > MAX_NESTING for depth, _ in enumerate(_levels(value), start=1))


def _has_broken_names(value: dict[str, Any]) -> bool:
    """Half a surrogate pair in a name could not be written again; in a value, a piece of text, it can."""
    try:
        for level in _levels(value):
            "".join(name for parent in level if isinstance(parent, dict) for name in parent).encode()
    except UnicodeEncodeError:
        return True
    return False


def _typed(message: dict[str, Any], models: Mapping[str, type[EventModel]], size: int) -> EventModel:
    kind = message.get("type")
    if not isinstance(kind, str):
        raise MalformedMessage("no `type`" if kind is None else "`type` is not a string", size)
    model = models.get(kind)
    if model is None:
        return _unknown(message, size)
    try:
        return model.model_validate(message)
    except ValidationError as exc:
        event = _unknown(message, size)
        object.__setattr__(event, "_reason", _reason(exc))
        return event


def _unknown(message: dict[str, Any], size: int) -> UnknownEvent:
    try:
        return UnknownEvent.model_validate(message)
    except ValidationError:  # of a client's mapping; only the names are checked
        raise MalformedMessage(_BROKEN_NAME, size) from None


def _reason(error: ValidationError) -> str:
    """One line that names the fields but quotes no value."""
    problems = [
        f"{'.'.join(map(str, problem['loc'])) or 'event'}: {problem['msg']}"
        for problem in error.errors(include_url=False, include_context=False, include_input=False)
    ]
    more = len(problems) - _SHOWN_ERRORS
    return "; ".join(problems[:_SHOWN_ERRORS]) + (f"; {more} more" if more > 0 else "")


def _keep_raw(event: EventModel, message: dict[str, Any]) -> EventModel:
    object.__setattr__(event, "_raw", message)  # past pydantic's guard of frozen models: it is no field
    return event
