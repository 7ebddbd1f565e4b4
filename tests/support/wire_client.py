"""A client of the embedded server made of one peer and plain HTTP: what arrives, when, and what it sounds like."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rtc_audio.opus import OpusDecoder
from rtc_signaling import SdpAnswer, SdpClient
from rtc_transport.peer import Peer, PeerEvents
from rtc_transport.server import Call, RealtimeServer
from rtc_transport.tracks import OutgoingTrack

from .peers import Packets

RATE_HZ = 48000
LOUD = 0.01
Mono = NDArray[np.float32]
Event = dict[str, Any]


@dataclass
class Speaker:
    """What the client says: silence until `say`."""

    pcm: Mono = field(default_factory=lambda: np.zeros(0, np.float32))
    spoken: asyncio.Event = field(default_factory=asyncio.Event)

    def say(self, pcm: Mono) -> None:
        self.pcm = pcm
        self.spoken.clear()

    def read(self, count: int) -> Mono:
        out, self.pcm = self.pcm[:count], self.pcm[count:]
        if not len(self.pcm):
            self.spoken.set()
        return np.concatenate([out, np.zeros(count - len(out), np.float32)])


class WireClient:
    """One call; `connect` makes it."""

    def __init__(self, server: RealtimeServer, transform: Callable[[str], str]) -> None:
        self.server = server
        self.transform = transform
        self.voice = Packets()
        self.speaker = Speaker()
        self.events: list[Event] = []
        self.messages: list[str | bytes] = []
        self.changed = asyncio.Event()
        self.closed: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.answer: SdpAnswer | None = None
        events = PeerEvents(message=self._on_message, closed=self.closed.set_result)
        self.peer = Peer(OutgoingTrack(self.speaker.read), self.voice, events, loopback=True)

    @property
    def call(self) -> Call:
        assert self.answer is not None
        assert self.answer.call_id is not None
        return self.server.calls[self.answer.call_id]

    async def post(self, session: dict[str, object] | None = None, key: str = "sk-test") -> SdpAnswer:
        """Sends the offer; the answer is kept."""
        offer = self.transform(await self.peer.offer())
        async with SdpClient(base_url=self.server.url) as http:
            self.answer = await http.exchange(
                offer, key=key, session=session or {"type": "realtime", "model": "gpt-realtime"}
            )
        return self.answer

    async def connect(self, session: dict[str, object] | None = None) -> None:
        """Posts, accepts and waits until the channel is open."""
        answer = await self.post(session)
        await self.peer.accept(answer.sdp)
        await self.peer.opened()

    def send(self, kind: str, **fields: Any) -> None:
        self.send_raw(json.dumps({"type": kind, **fields}))

    def send_raw(self, message: str | bytes) -> None:
        assert self.peer.channel is not None
        self.peer.channel.send(message)

    async def wait_for(self, kind: str, count: int = 1) -> Event:
        """The `count`-th event of that type."""
        while len(found := [event for event in self.events if event["type"] == kind]) < count:
            self.changed.clear()
            await self.changed.wait()
        return found[count - 1]

    def heard(self) -> Mono:
        """The server's voice as it was sent: packets in order, decoded."""
        decoder = OpusDecoder(RATE_HZ)
        packets = sorted(self.voice.packets)
        return np.concatenate([np.zeros(0, np.float32), *(decoder.decode(p[2]) for p in packets)])

    def loud_packets_after(self, time: float) -> int:
        """How many packets with sound in them arrived after `time` (of the loop's clock)."""
        decoder = OpusDecoder(RATE_HZ)
        levels = [(p[3], np.abs(decoder.decode(p[2])).max()) for p in sorted(self.voice.packets)]
        return sum(at > time and level > LOUD for at, level in levels)

    def _on_message(self, message: str | bytes) -> None:
        self.messages.append(message)
        try:
            event = json.loads(message)
        except ValueError:
            event = None
        if isinstance(event, dict):
            self.events.append(event)
        self.changed.set()


def unchanged(sdp: str) -> str:
    return sdp


@asynccontextmanager
async def calling(
    server: RealtimeServer, transform: Callable[[str], str] = unchanged, **session: object
) -> AsyncIterator[WireClient]:
    """A connected client; `transform` changes its offer."""
    client = WireClient(server, transform)
    try:
        await client.connect({"type": "realtime", "model": "gpt-realtime", **session})
        await client.wait_for("session.created")
        yield client
    finally:
        await client.peer.close()


@asynccontextmanager
async def offering(
    server: RealtimeServer, transform: Callable[[str], str] = unchanged
) -> AsyncIterator[WireClient]:
    """A client that has not connected yet."""
    client = WireClient(server, transform)
    try:
        yield client
    finally:
        await client.peer.close()


def envelope(pcm: Mono, rate_hz: int) -> Mono:
    """RMS of every 20 ms."""
    frame = rate_hz // 50
    frames = pcm[: len(pcm) // frame * frame].reshape(-1, frame)
    levels: Mono = np.sqrt(np.mean(np.square(frames), axis=1))
    return levels


def likeness(part: Mono, whole: Mono) -> float:
    """The best correlation of the envelope `part` with a piece of the envelope `whole`."""
    pieces = np.lib.stride_tricks.sliding_window_view(whole, len(part))
    return max(float(np.corrcoef(part, piece)[0, 1]) for piece in pieces if piece.max() > LOUD)


async def nothing_left_running() -> None:
    """Waits until the current task is alone; aioice's checks take up to 20 ms to see that they are over."""
    async with asyncio.timeout(1):
        while asyncio.all_tasks() != {asyncio.current_task()}:  # noqa: ASYNC110 - tasks of aiortc's own
            await asyncio.sleep(0.01)
