"""Everything that rtc_audio raises on purpose.

AudioError
├── AudioFileError      a file cannot be read or written (path, reason)
├── UnsupportedFormat   a rate, dtype, shape or channel count that cannot be handled (also a ValueError)
├── EchoUnavailable     an echo canceller is not installed (rtc_audio.echo)
├── OpusError           libopus refuses a packet or an operation (rtc_audio.libopus)
└── DeviceError         a microphone or loudspeaker cannot be used
    ├── PortAudioMissing    the library that reaches devices is not installed (command)
    ├── NoDevice            the machine has none (direction)
    ├── DeviceNotFound      none has this name or index (wanted, candidates)
    ├── AmbiguousDevice     several have this name (wanted, candidates)
    ├── DeviceRefused       the driver said no (device, reason)
    │   └── DeviceBusy          because another program has it
    └── DeviceOpenTimeout   the driver did not answer in time (device, timeout_seconds)
"""

import os
from collections.abc import Sequence
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


class DeviceError(AudioError):
    """A microphone or a loudspeaker cannot be used."""


class PortAudioMissing(DeviceError):
    """PortAudio, which reaches the devices, is not installed; `command` installs it."""

    def __init__(self, command: str) -> None:
        super().__init__(command)
        self.command = command

    def __str__(self) -> str:
        return f"microphones and loudspeakers need PortAudio, which is not installed: {self.command}"


class NoDevice(DeviceError):
    """The machine has no device of this direction at all ("input" or "output")."""

    def __init__(self, direction: Literal["input", "output"]) -> None:
        super().__init__(direction)
        self.direction = direction

    def __str__(self) -> str:
        return "there is no microphone" if self.direction == "input" else "there is no loudspeaker"


class DeviceNotFound(DeviceError):
    """No device has the name or index `wanted`; `candidates` are those that could have been meant."""

    def __init__(
        self, direction: Literal["input", "output"], wanted: str | int, candidates: Sequence[str]
    ) -> None:
        super().__init__(direction, wanted, candidates)
        self.direction = direction
        self.wanted = wanted
        self.candidates = tuple(candidates)

    def __str__(self) -> str:
        what = f"no {self.direction} device {self.wanted!r}"
        return f"{what}; there are: {'; '.join(self.candidates)}"


class AmbiguousDevice(DeviceError):
    """Several devices have the name `wanted`: the `candidates`, each with its index."""

    def __init__(self, direction: Literal["input", "output"], wanted: str, candidates: Sequence[str]) -> None:
        super().__init__(direction, wanted, candidates)
        self.direction = direction
        self.wanted = wanted
        self.candidates = tuple(candidates)

    def __str__(self) -> str:
        what = f"{len(self.candidates)} {self.direction} devices match {self.wanted!r}"
        return f"{what}, name one or give its index: {'; '.join(self.candidates)}"


class DeviceRefused(DeviceError):
    """The driver did not open the device: a format, a permission, a fault of its own.

    Attributes: `device` (its name), `reason` (the driver's words).
    """

    def __init__(self, device: str, reason: str) -> None:
        super().__init__(device, reason)
        self.device = device
        self.reason = reason

    def __str__(self) -> str:
        return f"cannot open {self.device}: {self.reason}"


class DeviceBusy(DeviceRefused):
    """Another program has the device for itself."""


class DeviceOpenTimeout(DeviceError):
    """The driver did not open `device` within `timeout_seconds`; should it do so later, it is closed again."""

    def __init__(self, device: str, timeout_seconds: float) -> None:
        super().__init__(device, timeout_seconds)
        self.device = device
        self.timeout_seconds = timeout_seconds

    def __str__(self) -> str:
        return f"cannot open {self.device}: the driver did not answer within {self.timeout_seconds:g} s"
