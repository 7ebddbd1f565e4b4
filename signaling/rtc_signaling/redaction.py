"""Foreign text on its way into one of our messages: one line, short, without secrets."""

import re
from collections.abc import Iterable

MASK = "***"
# Shapes of keys that are not ours to know: somebody else's in an error page, one inside a provider's exception.
_KEY_SHAPE = re.compile(r"\b[se]k[-_][\w-]{6,}|(?<=\bbearer )[\w.~+/=-]{16,}", re.IGNORECASE)


def redact(text: str, secrets: Iterable[str] = ()) -> str:
    """Mask every occurrence of `secrets`, and whatever has the shape of a key."""
    for secret in sorted(filter(None, secrets), key=len, reverse=True):
        text = text.replace(secret, MASK)
    return _KEY_SHAPE.sub(MASK, text)


def one_line(text: str, limit: int) -> str:
    """Collapse white space, drop what is not printable, cut to `limit` characters.

    Redact first: a secret that was cut in two is no longer found.
    """
    line = "".join(character for character in " ".join(text.split()) if character.isprintable())
    return line if len(line) <= limit else line[: limit - 1] + "…"
