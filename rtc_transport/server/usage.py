"""Token counts by the service's published rules of thumb, so that usage and rate limits have plausible sizes. Pure.

User audio counts a token per 100 ms, the model's a token per 50 ms, text one per four characters.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from .items import Item

IMAGE_TOKENS = 85
REQUESTS_PER_MINUTE = 1000
TOKENS_PER_MINUTE = 1_000_000


def text_tokens(text: str | None) -> int:
    """Tokens of a text."""
    return -(-len(text or "") // 4)


def spoken_tokens(audio_ms: float) -> int:
    """Tokens of sound the model makes."""
    return round(audio_ms / 50)


@dataclass
class OutputTokens:
    """What a response has generated so far."""

    text: int = 0
    audio: int = 0

    @property
    def total(self) -> int:
        """Both kinds."""
        return self.text + self.audio


def usage(context: Iterable[Item], instructions: str, output: OutputTokens) -> dict[str, Any]:
    """The ``usage`` object of a response to `context`."""
    text, audio, image = text_tokens(instructions), 0, 0
    for item in context:
        parts = item.data.get("content", ())
        image += IMAGE_TOKENS * sum(part.get("type") == "input_image" for part in parts)
        audio += item.audio_ms // 100
        text += text_tokens(item.text())
    return {
        "total_tokens": text + audio + image + output.total,
        "input_tokens": text + audio + image,
        "output_tokens": output.total,
        "input_token_details": {
            "text_tokens": text,
            "audio_tokens": audio,
            "image_tokens": image,
            "cached_tokens": 0,
        },
        "output_token_details": {"text_tokens": output.text, "audio_tokens": output.audio},
    }


class RateLimits:
    """Requests and tokens of the running minute."""

    def __init__(self, now: float) -> None:
        self._since = now
        self._requests = 0
        self._tokens = 0

    def request(self, now: float) -> list[dict[str, Any]]:
        """Counts one request; the ``rate_limits`` list after it."""
        if now - self._since >= 60:
            self._since, self._requests, self._tokens = now, 0, 0
        self._requests += 1
        reset = 60 - (now - self._since)
        return [
            _limit("requests", REQUESTS_PER_MINUTE, self._requests, reset),
            _limit("tokens", TOKENS_PER_MINUTE, self._tokens, reset),
        ]

    def spend(self, tokens: int) -> None:
        """Counts the tokens of a finished response."""
        self._tokens += tokens


def _limit(name: str, limit: int, used: int, reset_seconds: float) -> dict[str, Any]:
    return {
        "name": name,
        "limit": limit,
        "remaining": max(0, limit - used),
        "reset_seconds": round(reset_seconds, 3),
    }
