"""What is wrong with a client event: the exception that becomes the ``error`` event, and checks that raise it."""

import json
import math
from collections.abc import Callable, Collection, Mapping
from typing import Any, Never

Check = Callable[[Any, str], None]
"""Raises `EventError` if a value (first argument) at a dotted path (second) is not what the service takes."""

MAX_ID_CHARS = 32
_NAMES = {str: "a string", int: "an integer", bool: "a boolean", dict: "an object", list: "an array"}


class EventError(Exception):
    """A client event the service refuses; `code`, `param` and `kind` are the fields of the ``error`` event."""

    def __init__(
        self, code: str, message: str, param: str | None = None, kind: str = "invalid_request_error"
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.param = param
        self.kind = kind

    def to_wire(self, event_id: str | None) -> dict[str, Any]:
        """The ``error`` object of the event; `event_id` is that of the client event at fault, if it had one."""
        return {
            "type": self.kind,
            "code": self.code,
            "message": self.message,
            "param": self.param,
            "event_id": event_id,
        }


def parse_event(message: str | bytes) -> dict[str, Any]:
    """The client event in a message; raises EventError for what is no JSON object."""
    if isinstance(message, bytes):
        raise EventError("invalid_json", "The message is not UTF-8 text; events are JSON text.")
    try:
        event = json.loads(message, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise EventError("invalid_json", f"We could not parse the JSON of the event: {error}.") from error
    if not isinstance(event, dict):
        raise EventError("invalid_json", "The event is no JSON object.")
    return event


def _no_constant(name: str) -> Never:
    raise ValueError(f"{name} is no JSON")  # Python's parser takes NaN and Infinity


def check_size(message: str | bytes, limit: int) -> None:
    """Raises EventError for a message of more than `limit` bytes of UTF-8."""
    size = len(message.encode() if isinstance(message, str) else message)
    if size > limit:
        raise EventError("event_too_large", f"The event has {size} bytes; at most {limit} are allowed.")


def required(holder: Mapping[str, Any], key: str, kind: type, path: str = "") -> Any:
    """The value at `key`, which must be there and of `kind`; `path` is where `holder` sits in the event."""
    param = f"{path}.{key}" if path else key
    if key not in holder:
        raise EventError("missing_required_parameter", f"Missing required parameter: '{param}'.", param)
    check_type(holder[key], param, kind)
    return holder[key]


def optional(holder: Mapping[str, Any], key: str, kind: type, path: str = "") -> Any:
    """The value at `key`, of `kind` if it is there and not null, else None."""
    value = holder.get(key)
    if value is not None:
        check_type(value, f"{path}.{key}" if path else key, kind)
    return value


def check_known(holder: Mapping[str, Any], known: Collection[str], path: str) -> None:
    """Raises if `holder` has a field that is not in `known`."""
    for key in holder:
        if key not in known:
            raise EventError("unknown_parameter", f"Unknown parameter: '{path}.{key}'.", f"{path}.{key}")


def check_type(value: Any, param: str, kind: type) -> None:
    """Raises unless `value` has the JSON type that `kind` stands for (true is no integer)."""
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise EventError(
            "invalid_type",
            f"Invalid type for '{param}': expected {_NAMES[kind]}, but got {_json_name(value)} instead.",
            param,
        )


def check_id(value: str, param: str) -> str:
    """`value` if it is an id the service takes: 1 to 32 characters."""
    if not value:
        raise EventError("invalid_value", f"Invalid '{param}': the id is empty.", param)
    if len(value) > MAX_ID_CHARS:
        raise EventError(
            "string_above_max_length",
            f"Invalid '{param}': string too long. Expected a string with maximum length {MAX_ID_CHARS}, "
            f"but got a string with length {len(value)} instead.",
            param,
        )
    return value


def of_type(kind: type) -> Check:
    """A check for one JSON type."""
    return lambda value, param: check_type(value, param, kind)


def one_of(*choices: object) -> Check:
    """A check for one of a few values."""

    def check(value: Any, param: str) -> None:
        if value not in choices:
            listed = ", ".join(json.dumps(choice) for choice in choices)
            raise EventError(
                "invalid_value",
                f"Invalid value for '{param}': {_shown(value)}. Supported values are: {listed}.",
                param,
            )

    return check


def between(low: float, high: float, *, whole: bool = False) -> Check:
    """A check for a number in a closed range, or a whole one."""

    def check(value: Any, param: str) -> None:
        number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        if not number or (whole and not isinstance(value, int)) or not low <= value <= high:
            kind = "an integer" if whole else "a number"
            raise EventError(
                "invalid_value",
                f"Invalid value for '{param}': expected {kind} from {low:g} to {high:g}, "
                f"but got {_shown(value)} instead.",
                param,
            )

    return check


def anything(value: Any, param: str) -> None:
    """No check."""


def list_of(check: Check) -> Check:
    """A check for an array whose elements all pass `check`."""

    def checked(value: Any, param: str) -> None:
        check_type(value, param, list)
        for index, element in enumerate(value):
            check(element, f"{param}[{index}]")

    return checked


def map_of(check: Check) -> Check:
    """A check for an object with any fields, whose values all pass `check`."""

    def checked(value: Any, param: str) -> None:
        check_type(value, param, dict)
        for key, inner in value.items():
            check(inner, f"{param}.{key}")

    return checked


def nullable(check: Check) -> Check:
    """`check`, or null."""

    def checked(value: Any, param: str) -> None:
        if value is not None:
            check(value, param)

    return checked


def fields(**checks: Check) -> Check:
    """A check for an object that has none but these fields."""

    def check(value: Any, param: str) -> None:
        check_type(value, param, dict)
        check_known(value, checks, param)
        for key, inner in value.items():
            checks[key](inner, f"{param}.{key}")

    return check


def _json_name(value: object) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "a boolean"
    if isinstance(value, float):
        return "a decimal"
    return _NAMES.get(type(value), "something else")


def _shown(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else text[:57] + "..."
