"""What the library asks of a source and of a sink of sound; users' own classes fit in by shape alone.

Arrays are float32 `[frame, channel]`, full scale ±1.0. Everything is called on the event loop. A source is read
and a sink is pulled by exactly one owner at a time.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias, runtime_checkable

import numpy as np
from numpy.typing import NDArray

Pcm: TypeAlias = NDArray[np.float32]
"""Sound as float32 `[frame, channel]`, full scale ±1.0."""

Pull: TypeAlias = Callable[[int], Pcm]
"""`pull(n)` gives exactly n frames `[n, 1]` of the remote voice, silence where there is none."""


@runtime_checkable
class AudioSource(Protocol):
    """Sound on its way to the peer: a file, a microphone, what an application pushes."""

    @property
    def rate_hz(self) -> int:
        """Sampling rate of what `read` returns; may change between two reads."""
        ...

    @property
    def channels(self) -> int:
        """Channel count of what `read` returns; may change between two reads."""
        ...

    @property
    def ended(self) -> bool:
        """True once the last frame has been read and none will follow."""
        ...

    async def start(self) -> None:
        """Get ready to be read, also again after `aclose`; a second call does nothing.

        Raises when the source cannot be opened.
        """
        ...

    def read(self, n: int, /) -> Pcm:
        """At most n frames, without waiting; fewer than n: silence follows, for now or (`ended`) for good."""
        ...

    async def aclose(self) -> None:
        """Release everything; harmless when repeated."""
        ...


@runtime_checkable
class ClearableSource(AudioSource, Protocol):
    """A source that keeps a backlog, which mute drops so that unmuting never sends stale speech.

    With `live` true the backlog is also dropped when a call begins: what was captured while it was being
    connected is stale, unlike what an application queued on purpose.
    """

    @property
    def live(self) -> bool:
        """True for sound that happens now (a microphone), false for sound made in advance."""
        ...

    def clear(self) -> None:
        """Drop what waits to be read."""
        ...


@dataclass(frozen=True)
class PacketFormat:
    """What Opus packets are like: those that a source has, or those that a peer takes."""

    packet_ms: int = 20
    channels: int = 1
    bitrate_bps: int | None = None
    """Mean rate; None: unknown, or without a limit."""

    def fits(self, limit: "PacketFormat") -> bool:
        """Whether packets of this format may go where those of `limit` are expected, a quarter more bits included."""
        return (
            self.packet_ms == limit.packet_ms
            and self.channels <= limit.channels
            and (limit.bitrate_bps is None or 4 * (self.bitrate_bps or math.inf) <= 5 * limit.bitrate_bps)
        )


@runtime_checkable
class PacketSource(AudioSource, Protocol):
    """A source that holds Opus packets, which may leave undecoded while nothing has to touch their samples.

    `read` and `read_packet` move one position: each goes on where the other stopped.
    """

    @property
    def packet_format(self) -> PacketFormat | None:
        """Of what `read_packet` returns; None: this source has no packets after all."""
        ...

    def read_packet(self) -> bytes | None:
        """The next packet, without waiting; None where `read` is to be called instead."""
        ...

    def rewind(self, packets: int, /) -> int:
        """Make `read` begin with the sound of the last packets again, up to two; returns how many it will be.

        Called behind `read_packet` only, before sound goes on: an encoder has to hear what was said.
        """
        ...


@runtime_checkable
class AudioSink(Protocol):
    """Where the remote voice goes: a file, a loudspeaker, a callback."""

    @property
    def rate_hz(self) -> int:
        """Sampling rate the sink wants; constant."""
        ...

    async def start(self, pull: Pull, /) -> None:
        """Begin to call `pull` on the event loop, at the sink's own pace; a second call replaces `pull`."""
        ...

    async def aclose(self) -> None:
        """Stop pulling and release everything; harmless when repeated."""
        ...


@runtime_checkable
class UnbufferedSink(AudioSink, Protocol):
    """A sink that takes the voice as the packets come: `delay` is "none", `write` is called, `pull` is not.

    For files and recognition: without a playout buffer, hence without its delay; gaps are filled.
    """

    @property
    def delay(self) -> Literal["none"]:
        """Says to the transport that this sink is written to."""
        ...

    def write(self, pcm: Pcm, /) -> None:
        """The next frames `[n, 1]` of the remote voice at `rate_hz`; must not wait."""
        ...
