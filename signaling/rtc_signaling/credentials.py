"""Where a key comes from: a string, a minted secret, or a function asked once per attempt."""

import inspect
from collections.abc import Awaitable, Callable

from .errors import KeyUnavailable, SignalingError
from .models import ClientSecret
from .redaction import one_line, redact

_Key = str | ClientSecret
KeySource = _Key | Callable[[], _Key | Awaitable[_Key]] | None
"""A key, or what gives one (plain or coroutine function), or None for a service that wants none."""


async def resolve_key(source: KeySource) -> str | None:
    """Ask `source` for the key of one attempt; None stays None.

    Raises KeyUnavailable, whose text never shows a key; a SignalingError of a provider that talks to a
    service itself passes unchanged. Has no time limit of its own; cancellation reaches the provider.
    """
    if source is None:
        return None
    if callable(source):
        return check_key(await _ask(source), "the key provider returned")
    return check_key(source, "the API key is")


async def _ask(provider: Callable[[], _Key | Awaitable[_Key]]) -> object:
    try:
        value = provider()
        return await value if inspect.isawaitable(value) else value
    except SignalingError:
        raise
    except Exception as error:
        said = one_line(redact(str(error)), 200)
        text = f"the key provider raised {type(error).__name__}{f': {said}' if said else ''}"
        raise KeyUnavailable(text) from error


def check_key(key: object, subject: str = "the API key is") -> str:
    """The key as a string that can stand in an `Authorization` header (RFC 6750 §2.1).

    Raises KeyUnavailable; `subject` begins its text.
    """
    if isinstance(key, ClientSecret):
        key = key.value
    if key is None:
        raise KeyUnavailable(f"{subject} nothing", hint="a key provider must return the key")
    if not isinstance(key, str):
        raise KeyUnavailable(f"{subject} {type(key).__name__}, not a string")
    if not key:
        raise KeyUnavailable(f"{subject} empty", hint="is the variable that holds the key set?")
    if not key.isascii():
        raise KeyUnavailable(f"{subject} not plain ASCII", hint="copy the key again")
    if any(character <= " " or character == "\x7f" for character in key):
        raise KeyUnavailable(
            f"{subject} no key: it holds white space or control characters",
            hint="strip the line end if the key was read from a file",
        )
    return key
