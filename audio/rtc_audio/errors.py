"""Everything that rtc_audio raises on purpose.

AudioError
├── AudioFileError      a file cannot be read or written (path, reason)
└── UnsupportedFormat   a rate, dtype, shape or channel count that cannot be handled (also a ValueError)
"""

import os
from typing import Literal


class AudioError(Exception):
    """Root of the errors of this room."""


class AudioFileError(AudioError):
    """A file cannot be read or written; the text names the path as the user gave it and the reason.

    Attributes: `path`, `reason` (a short phrase without the path), `action` ("read" or "write").
    """

    def __init__(
        self, path: str | os.PathLike[str], reason: str, *, action: Literal["read", "write"] = "read"
    ) -> None:
        super().__init__(path, reason)
        self.path = os.fspath(path)
        self.reason = reason
        self.action = action

    def __str__(self) -> str:
        return f"cannot {self.action} {self.path}: {self.reason}"


class UnsupportedFormat(AudioError, ValueError):
    """A sampling rate, dtype, array shape or channel count that the called part cannot handle."""
