"""Two real peers in one process, connected over 127.0.0.1, with a link that can lose packets."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from rtc_transport.internals import wrap_sending
from rtc_transport.peer import Peer, PeerEvents
from rtc_transport.tracks import OpusSettings, OutgoingTrack, ReadFrame


def silence(count: int) -> NDArray[np.float32]:
    return np.zeros(count, np.float32)


def tone(hz: float = 440.0, rate_hz: int = 48000, level: float = 0.3) -> ReadFrame:
    position = 0

    def read(count: int) -> NDArray[np.float32]:
        nonlocal position
        at = np.arange(position, position + count)
        position += count
        pcm: NDArray[np.float32] = (level * np.sin(2 * np.pi * hz / rate_hz * at)).astype(np.float32)
        return pcm

    return read


@dataclass
class Packets:
    """A `VoiceInput` that keeps what arrives."""

    packets: list[tuple[int, int, bytes, float]] = field(default_factory=list)
    frames: list[NDArray[np.float32]] = field(default_factory=list)
    restarts: int = 0
    arrived: asyncio.Event = field(default_factory=asyncio.Event)

    def packet(self, sequence: int, timestamp: int, payload: bytes, now: float) -> None:
        self.packets.append((sequence, timestamp, payload, now))
        self.arrived.set()

    def restart(self) -> None:
        self.restarts += 1

    def decoded(self, pcm: NDArray[np.float32], rate_hz: int, now: float) -> None:
        self.frames.append(pcm)
        self.arrived.set()

    async def wait_for(self, count: int) -> None:
        while len(self.packets) + len(self.frames) < count:
            self.arrived.clear()
            await self.arrived.wait()


@dataclass
class End:
    """One side of a pair."""

    peer: Peer
    track: OutgoingTrack
    voice: Packets
    messages: "asyncio.Queue[str | bytes]"
    closed: "asyncio.Future[str]"


def make_end(read: ReadFrame = silence, settings: OpusSettings | None = None) -> End:
    voice, messages = Packets(), asyncio.Queue[str | bytes]()
    closed: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    track = OutgoingTrack(read, settings)
    events = PeerEvents(message=messages.put_nowait, closed=closed.set_result)
    return End(Peer(track, voice, events, loopback=True), track, voice, messages, closed)


@asynccontextmanager
async def connected_pair(
    read: ReadFrame = silence, settings: OpusSettings | None = None
) -> AsyncIterator[tuple[End, End]]:
    """(the offering end, the answering end), closed at the end of the block."""
    client, server = make_end(read, settings), make_end()
    try:
        await client.peer.accept(await server.peer.answer(await client.peer.offer()))
        await asyncio.gather(client.peer.opened(), server.peer.opened())
        yield client, server
    finally:
        await asyncio.gather(client.peer.close(), server.peer.close())


class Link:
    """Drops outgoing datagrams of one peer: `drop(datagram) -> bool`. Counts what it dropped."""

    def __init__(self, peer: Peer, drop: Callable[[bytes], bool]) -> None:
        self.drop = drop
        self.dropped = 0
        transport = peer.connection.getSenders()[0].transport.transport
        assert wrap_sending(transport, self._wrap)

    def _wrap(self, send: Callable[[bytes], Awaitable[None]]) -> Callable[[bytes], Awaitable[None]]:
        async def lossy(datagram: bytes) -> None:
            if self.drop(datagram):
                self.dropped += 1
            else:
                await send(datagram)

        return lossy


def is_rtp(datagram: bytes) -> bool:
    """SRTP, without SRTCP (RFC 5761 §4, RFC 7983)."""
    return 127 < datagram[0] < 192 and not 192 <= datagram[1] <= 223


def is_dtls(datagram: bytes) -> bool:
    """DTLS, which carries SCTP (RFC 7983)."""
    return 19 < datagram[0] < 64
