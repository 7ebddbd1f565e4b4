"""What clients send to the embedded server, checked. Pure; every fault is a CallRejected with `param`."""

import json
from collections.abc import Mapping

from .errors import CallRejected
from .models import LONGEST_LIFE_SECONDS, SHORTEST_LIFE_SECONDS

DEFAULT_LIFETIME_SECONDS = 600
_SESSION_TYPES = ("realtime", "transcription")


def read_offer(content: bytes | None) -> str:
    """The SDP offer of a request. Code `invalid_offer` for what is none."""
    if content is None:
        raise _missing("sdp")
    try:
        offer = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise _invalid_offer("The SDP offer is not UTF-8 text.") from None
    if not offer.strip():
        raise _invalid_offer("The SDP offer is empty.")
    if not offer.lstrip().startswith("v=0"):
        raise _invalid_offer("The SDP offer does not begin with v=0.")
    return offer


def read_call_session(content: bytes) -> dict[str, object]:
    """The `session` part of a multipart call: it must say what it is, and a realtime session its model."""
    session = read_json_object(content, "session")
    if session.get("type") is None:
        raise _missing("session.type")
    _check_session(session)
    if session["type"] == "realtime" and not session.get("model"):
        raise _missing("session.model")
    return session


def read_secret_request(content: bytes) -> tuple[dict[str, object], int]:
    """Session and life time in seconds that a client secret is asked for; a model that is not named stays open."""
    wanted = read_json_object(content, None) if content.strip() else {}
    given = wanted.get("session") or {}
    if not isinstance(given, dict):
        raise _invalid("session", "an object")
    session: dict[str, object] = {"type": "realtime", **given}
    _check_session(session)
    return session, _lifetime_seconds(wanted.get("expires_after"))


def read_json_object(content: bytes, param: str | None) -> dict[str, object]:
    """A JSON object (RFC 8259; no NaN, no Infinity)."""
    try:
        found = json.loads(content, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise CallRejected(f"{param or 'The body'} is not a JSON object.", code="invalid_json", param=param)
    return found


def _check_session(session: Mapping[str, object]) -> None:
    if session["type"] not in _SESSION_TYPES:
        raise _invalid("session.type", " or ".join(_SESSION_TYPES))
    if not isinstance(session.get("model", ""), str):
        raise _invalid("session.model", "a string")


def _lifetime_seconds(expires_after: object) -> int:
    if expires_after is None:
        return DEFAULT_LIFETIME_SECONDS
    if not isinstance(expires_after, dict):
        raise _invalid("expires_after", "an object")
    if expires_after.get("anchor", "created_at") != "created_at":
        raise _invalid("expires_after.anchor", "created_at")
    seconds = expires_after.get("seconds", DEFAULT_LIFETIME_SECONDS)
    whole = isinstance(seconds, int) and not isinstance(seconds, bool)
    if not whole or not SHORTEST_LIFE_SECONDS <= seconds <= LONGEST_LIFE_SECONDS:
        raise _invalid(
            "expires_after.seconds",
            f"a whole number within {SHORTEST_LIFE_SECONDS} to {LONGEST_LIFE_SECONDS}",
        )
    return int(seconds)


def _no_constant(name: str) -> object:
    raise ValueError(f"{name} is not JSON")


def _invalid_offer(message: str) -> CallRejected:
    return CallRejected(message, code="invalid_offer", param="sdp")


def _missing(param: str) -> CallRejected:
    return CallRejected(
        f"Missing required parameter: {param}.", code="missing_required_parameter", param=param
    )


def _invalid(param: str, expected: str) -> CallRejected:
    return CallRejected(f"Invalid value for {param}: expected {expected}.", code="invalid_value", param=param)
