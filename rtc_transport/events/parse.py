"""From a message to an event: the one way in for everything the wire brings.

The type is looked up first and only its own model validates; a union that tries them all would answer a new type
with dozens of errors, or with the first model that happens to fit.
"""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import ValidationError

from .base import EventModel, MalformedMessage, UnknownEvent
from .client import CLIENT_EVENTS
from .server import SERVER_EVENTS

MAX_NESTING = 128
"""Levels of objects and arrays beyond which a message is refused: deeper ones cannot be written or copied again."""

_SHOWN_ERRORS = 3


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


def _decode(text: str | bytes) -> dict[str, Any]:
    try:
        # decoded here, because json.loads would guess UTF-16 and UTF-32
        message = json.loads(text if isinstance(text, str) else text.decode())
    except UnicodeDecodeError as exc:
        raise MalformedMessage(f"not UTF-8 at byte {exc.start}", len(text)) from None
    except json.JSONDecodeError as exc:
        raise MalformedMessage(f"not JSON: {exc.msg} at character {exc.pos}", len(text)) from None
    except RecursionError:
        raise MalformedMessage(f"nested deeper than {MAX_NESTING} levels", len(text)) from None
    except ValueError:  # sys.set_int_max_str_digits
        raise MalformedMessage("a number with too many digits", len(text)) from None
    if not isinstance(message, dict):
        raise MalformedMessage(f"not an object but {type(message).__name__}", len(text))
    if _brackets(text) > MAX_NESTING and _is_deep(message):
        raise MalformedMessage(f"nested deeper than {MAX_NESTING} levels", len(text))
    return message


def _brackets(text: str | bytes) -> int:
    """Never less than the levels of nesting, and cheap."""
    return text.count("{") + text.count("[") if isinstance(text, str) else text.count(b"{") + text.count(b"[")


def _is_deep(message: dict[str, Any]) -> bool:
    level: Iterable[Any] = (message,)
    for _ in range(MAX_NESTING):
        level = [
            child
            for parent in level
            for child in (parent.values() if isinstance(parent, dict) else parent)
            if isinstance(child, dict | list)
        ]
        if not level:
            return False
    return True


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
    except ValidationError:  # only the keys are checked
        raise MalformedMessage("a field's name is not Unicode text", size) from None


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
