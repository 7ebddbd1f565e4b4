"""What a device is, what is asked of it, and what is told of it."""

from dataclasses import dataclass
from typing import Literal, TypeAlias

Direction: TypeAlias = Literal["input", "output"]
Latency: TypeAlias = Literal["low", "high"]

DeviceEventKind: TypeAlias = Literal[
    "device_lost",
    "device_silent",
    "device_restored",
    "device_changed",
    "device_overflow",
    "device_underrun",
    "device_fault",
]


@dataclass(frozen=True)
class DeviceInfo:
    """A microphone, a loudspeaker, or both, as the system lists it.

    `index` holds until the list is read again; `host_api` and `name` stay. Latencies are those the driver suggests.
    """

    index: int
    name: str
    host_api: str
    inputs: int
    """Channels that can be recorded; 0: it is no microphone."""
    outputs: int
    """Channels that can be played; 0: it is no loudspeaker."""
    default_rate_hz: int
    is_default_input: bool = False
    is_default_output: bool = False
    low_input_latency_seconds: float = 0.0
    high_input_latency_seconds: float = 0.0
    low_output_latency_seconds: float = 0.0
    high_output_latency_seconds: float = 0.0

    def channels(self, direction: Direction) -> int:
        """How many channels it has that way."""
        return self.inputs if direction == "input" else self.outputs

    def is_default(self, direction: Direction) -> bool:
        """Whether it is taken when none is named."""
        return self.is_default_input if direction == "input" else self.is_default_output

    def __str__(self) -> str:
        return f"{self.index}: {self.name} ({self.host_api})"


@dataclass(frozen=True)
class DeviceEvent:
    """Something happened to a device during a call, which goes on.

    * `device_lost`: it is gone or stands still; silence until another event.
    * `device_silent`: a microphone gives nothing but digital zeros: muted at the device, removed behind a sound
      server, or not permitted. It is opened anew.
    * `device_restored`: the same device works again. `device_changed`: another one, `device`, has taken over; when the
      one before is back, it is used again (`device_restored`).
    * `device_overflow`, `device_underrun`: sound was lost between the device and this program; told once in a while.
    * `device_fault`: an exception in the exchange with the driver; the block is silence.
    """

    kind: DeviceEventKind
    direction: Direction
    device: str
    """Its name."""
    reason: str
    """A short phrase for people."""


@dataclass(frozen=True)
class StreamFormat:
    """How a stream of sound is cut: blocks of 10 ms, float32, interleaved."""

    rate_hz: int
    channels: int

    @property
    def block_frames(self) -> int:
        """Frames of each block."""
        return self.rate_hz // 100

    @property
    def block_bytes(self) -> int:
        """Memory of each block."""
        return 4 * self.block_frames * self.channels

    @property
    def block_seconds(self) -> float:
        """Duration of each block."""
        return self.block_frames / self.rate_hz


@dataclass(frozen=True)
class StreamRequest:
    """All that a driver is asked for."""

    device: DeviceInfo
    direction: Direction
    format: StreamFormat
    latency: Latency
