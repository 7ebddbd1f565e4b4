"""The event log: every event of a call, both ways, one JSON object a line."""

import json
import os
from collections.abc import Mapping
from typing import Any

from rtc_transport.trace import Direction

SECRETS = frozenset({"authorization", "headers", "client_secret", "api_key"})


class EventLog:
    """Writes ``{"t": seconds, "direction": "sent"|"received"|"transport", "event": {...}}`` lines to a file.

    The constructor opens the file, so that an unwritable path is known before the call; OSError as it comes. Every
    line is in the file when `write` returns. What fails later, as on a full disk, ends the log and is kept in
    `failure`: the call goes on. Credentials of MCP tools and client secrets are blotted out.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.failure: OSError | None = None
        self._file = open(path, "w", encoding="utf-8", buffering=1)  # noqa: SIM115 - closed by close()

    def write(self, seconds: float, direction: Direction, event: Mapping[str, Any]) -> None:
        """Appends one event; harmless after `close` and after a failure."""
        if self._file.closed or self.failure is not None:
            return
        line = {"t": round(seconds, 4), "direction": direction, "event": without_secrets(event)}
        try:
            self._file.write(json.dumps(line, ensure_ascii=False, separators=(",", ":"), default=str) + "\n")
        except OSError as error:
            self.failure = error

    def close(self) -> None:
        """Closes the file; harmless when repeated."""
        try:
            self._file.close()
        except OSError as error:  # of what could not be written before
            self.failure = self.failure or error


def without_secrets(value: Any) -> Any:
    """The same JSON value with the credentials in it blotted out."""
    if isinstance(value, Mapping):
        return {
            name: "***" if name in SECRETS and inner else without_secrets(inner)
            for name, inner in value.items()
        }
    if isinstance(value, list | tuple):
        return [without_secrets(inner) for inner in value]
    return value
