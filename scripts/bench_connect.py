"""Time to an open channel, time to recover from a lost last packet, and the cost of the import."""

import asyncio
import itertools
import resource
import statistics
import subprocess
import sys
import time

from aiortc import RTCBundlePolicy, RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from bench_common import Row

from rtc_transport.internals import gather_loopback, wrap_sending
from rtc_transport.peer import Peer, PeerEvents
from rtc_transport.tracks import OutgoingTrack
from rtc_transport.voice import RemoteVoice


async def own_connect() -> float:
    """Seconds from the offer to the open channel, our peers."""
    ends = [
        Peer(OutgoingTrack(lambda count: None), RemoteVoice(), PeerEvents(), loopback=True) for _ in range(2)
    ]
    began = time.perf_counter()
    await ends[0].accept(await ends[1].answer(await ends[0].offer()))
    await asyncio.gather(*(end.opened() for end in ends))
    took = time.perf_counter() - began
    await asyncio.gather(*(end.close() for end in ends))
    return took


async def stock_connect(tail_loss: bool = False) -> float:
    """The same with bare aiortc; or the seconds that a message takes whose packet is lost once."""
    config = RTCConfiguration(iceServers=[], bundlePolicy=RTCBundlePolicy.MAX_BUNDLE)
    left, right = RTCPeerConnection(config), RTCPeerConnection(config)
    for peer in (left, right):
        peer.addTransceiver("audio")
        gather_loopback(peer.getSenders()[0].transport.transport, always=True)
    opened, received = asyncio.Event(), asyncio.Event()
    right.on("datachannel", lambda channel: channel.on("message", lambda _: received.set()))
    began = time.perf_counter()
    channel = left.createDataChannel("oai-events")
    channel.on("open", opened.set)
    await left.setLocalDescription(await left.createOffer())
    await right.setRemoteDescription(RTCSessionDescription(left.localDescription.sdp, "offer"))
    await right.setLocalDescription(await right.createAnswer())
    await left.setRemoteDescription(RTCSessionDescription(right.localDescription.sdp, "answer"))
    await opened.wait()
    took = time.perf_counter() - began
    if tail_loss:
        took = await _lose_last(left, channel.send, received)
    await asyncio.gather(left.close(), right.close())
    return took


async def own_tail_loss() -> float:
    """Seconds that a message takes whose packet is lost once, our peers."""
    received = asyncio.Event()
    events = [PeerEvents(), PeerEvents(message=lambda _: received.set())]
    ends = [Peer(OutgoingTrack(lambda count: None), RemoteVoice(), told, loopback=True) for told in events]
    await ends[0].accept(await ends[1].answer(await ends[0].offer()))
    await asyncio.gather(*(end.opened() for end in ends))
    assert ends[0].channel is not None
    took = await _lose_last(ends[0].connection, ends[0].channel.send, received)
    await asyncio.gather(*(end.close() for end in ends))
    return took


async def _lose_last(peer, send, received: asyncio.Event) -> float:  # type: ignore[no-untyped-def]  # either library's
    for _ in range(5):  # the timers settle
        received.clear()
        send("warm up")
        await received.wait()
        await asyncio.sleep(0.05)
    received.clear()
    numbers = itertools.count()

    def wrap(stock):  # type: ignore[no-untyped-def]  # as wrap_sending has it
        async def lossy(datagram: bytes) -> None:
            if not (19 < datagram[0] < 64 and next(numbers) == 0):
                await stock(datagram)

        return lossy

    wrap_sending(peer.getSenders()[0].transport.transport, wrap)
    began = time.perf_counter()
    send("the last")
    await received.wait()
    return time.perf_counter() - began


def import_seconds(module: str) -> float:
    """CPU seconds of a fresh interpreter that imports the module."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", f"import {module}"], check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def run(quick: bool) -> list[Row]:
    """DESIGN §6: connect, tail loss and import, in alternating runs."""
    count = 4 if quick else 12
    own, stock = [], []
    for _ in range(count):
        own.append(asyncio.run(own_connect()))
        stock.append(asyncio.run(stock_connect()))
    ours, theirs = 1e3 * statistics.median(own), 1e3 * statistics.median(stock)
    tail = [1e3 * asyncio.run(own_tail_loss()) for _ in range(3)]
    stock_tail = [1e3 * asyncio.run(stock_connect(tail_loss=True)) for _ in range(3)]
    imports = [(import_seconds("rtc_transport"), import_seconds("aiortc")) for _ in range(3 if quick else 10)]
    package = statistics.median(a for a, _ in imports)
    aiortc = statistics.median(b for _, b in imports)
    whole = statistics.median(import_seconds("rtc_transport.webrtc") for _ in range(3 if quick else 10))
    return [
        Row(
            "offer to open channel",
            ours,
            theirs,
            ours / theirs,
            "no slower (≤ 1.1 ×)",
            "ms",
            ours <= 1.1 * theirs,
        ),
        Row(
            "control message, its packet lost once",
            statistics.median(tail),
            statistics.median(stock_tail),
            None,
            "≤ 250 ms",
            "ms",
            statistics.median(tail) <= 250,
        ),
        Row(
            "import rtc_transport, CPU",
            1e3 * package,
            1e3 * aiortc,
            package / aiortc,
            "≤ 1.2 × import aiortc",
            "ms",
            package <= 1.2 * aiortc,
        ),
        Row("import of the transport itself, CPU", 1e3 * whole, 1e3 * aiortc, whole / aiortc, "", "ms", None),
    ]
