"""What ends or garbles aiortc's own reception, on the wire of a real pair: the voice goes on."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
import pytest
from aiortc.rtp import RtcpByePacket, RtpPacket
from numpy.typing import NDArray

from rtc_audio import CallbackSink
from rtc_audio.opus import OpusEncoder
from rtc_audio.sinks import Delay
from rtc_transport.peer import Peer, PeerEvents
from rtc_transport.receiver import OwnReceiver
from rtc_transport.tracks import OutgoingTrack
from rtc_transport.voice import RemoteVoice
from support.peers import End, Packets, connected_pair, make_end, silence, tone
from support.voice_link import roughness


def rtp(ssrc: int, sequence: int, payload: bytes = b"") -> bytes:
    packet = RtpPacket(payload_type=96, sequence_number=sequence & 0xFFFF, timestamp=960, ssrc=ssrc)
    packet.payload = payload
    serialized: bytes = packet.serialize()
    return serialized


async def send(end: End, datagram: bytes) -> None:
    await end.peer.connection.getSenders()[0].transport._send_rtp(datagram)


@pytest.mark.parametrize("what", ["empty payload", "bye", "another source"])
async def test_the_voice_goes_on_after(what: str) -> None:
    async with connected_pair(tone()) as (client, server), asyncio.timeout(10):
        receiver = server.peer.receiver
        assert isinstance(receiver, OwnReceiver)
        await server.voice.wait_for(10)
        ssrc, latest = client.peer.connection.getSenders()[0]._ssrc, server.voice.packets[-1][0]
        match what:
            case "empty payload":
                await send(client, rtp(ssrc, latest + 300))  # SRTP takes a number once
            case "bye":
                await send(client, bytes(RtcpByePacket(sources=[ssrc])))
            case "another source":
                await send(client, rtp(7, 1, b"\xf8\xff\xfe"))
        await server.voice.wait_for(len(server.voice.packets) + 20)
        assert receiver.empty_payloads == (what == "empty payload")
        assert server.voice.restarts == (2 if what == "another source" else 0), "there, and back again"
        assert all(payload for _, _, payload, _ in server.voice.packets)
        assert server.peer.connection.connectionState == "connected"


# --------------------------------------------------------------------------- what is heard of it

FRAME, SECONDS = 960, 1.2
COUNT = round(SECONDS * 50)
SSRC, OTHER = 5, 9

Datagrams = Callable[[int, bytes], list[bytes]]
"""What is sent instead of the n-th packet of a tone, by its payload."""


def numbered(number: int, payload: bytes, *, sequence: int = 100, timestamp: int = 0, **fields: Any) -> bytes:
    packet = RtpPacket(
        payload_type=fields.get("payload_type", 96),
        sequence_number=sequence + number & 0xFFFF,
        timestamp=timestamp + number * FRAME & 0xFFFFFFFF,
        ssrc=fields.get("ssrc", SSRC),
    )
    packet.payload = payload
    serialized: bytes = packet.serialize()
    return serialized


def bye(number: int, payload: bytes) -> list[bytes]:
    return [numbered(number, payload)] + [bytes(RtcpByePacket(sources=[SSRC]))] * (number == COUNT // 2)


def another_source(number: int, payload: bytes) -> list[bytes]:
    if number < COUNT // 2:
        return [numbered(number, payload)]
    return [numbered(number, payload, sequence=50_000, timestamp=777, ssrc=OTHER)]


def bye_then_another_source(number: int, payload: bytes) -> list[bytes]:
    return another_source(number, payload) + [bytes(RtcpByePacket(sources=[SSRC]))] * (
        number == COUNT // 2 - 1
    )


def padding(number: int, payload: bytes) -> list[bytes]:
    """An empty payload with a number of its own behind every packet."""
    return [numbered(number, payload, sequence=100 + number), numbered(number, b"", sequence=101 + number)]


def wrapping(number: int, payload: bytes) -> list[bytes]:
    return [numbered(number, payload, sequence=65_520, timestamp=2**32 - 10 * FRAME)]


def nothing(count: int) -> None:
    return None


@asynccontextmanager
async def line(delay: Delay) -> AsyncIterator[tuple[Peer, Peer, RemoteVoice, list[NDArray[np.float32]]]]:
    """(a peer that sends nothing by itself, one that plays what comes, its voice, what is heard)"""
    heard, voice = list[NDArray[np.float32]](), RemoteVoice()
    await voice.begin(CallbackSink(lambda pcm: heard.append(pcm[:, 0].copy()), 48000, delay=delay))
    far = Peer(OutgoingTrack(nothing), Packets(), PeerEvents(), loopback=True)
    near = Peer(OutgoingTrack(silence), voice, PeerEvents(), loopback=True)
    try:
        await far.accept(await near.answer(await far.offer()))
        await asyncio.gather(far.opened(), near.opened())
        yield far, near, voice, heard
    finally:
        await asyncio.gather(far.close(), near.close())
        await voice.end(None)


async def play(far: Peer, datagrams: Datagrams) -> None:
    """A tone of `SECONDS`, in time."""
    encoder, clock = OpusEncoder(complexity=1), asyncio.get_running_loop().time
    pcm = (0.3 * np.sin(2 * np.pi * 440 * np.arange(COUNT * FRAME) / 48000)).astype(np.float32)
    wire, began = far.connection.getSenders()[0].transport, clock()
    for number in range(COUNT):
        payload = encoder.encode(pcm[number * FRAME : (number + 1) * FRAME])
        for datagram in datagrams(number, payload):
            await wire._send_rtp(datagram)
        await asyncio.sleep(max(0.0, began + (number + 1) * 0.02 - clock()))
    await asyncio.sleep(0.2)


WHOLE = {  # datagrams, packets received, and empty ones among them
    "bye": (bye, COUNT, 0),
    "another source": (another_source, COUNT, 0),
    "bye, then another source": (bye_then_another_source, COUNT, 0),
    "padding": (padding, 2 * COUNT, COUNT),
    "wrap": (wrapping, COUNT, 0),
}


@pytest.mark.parametrize("delay", ["adaptive", "none"])
@pytest.mark.parametrize("what", WHOLE)
async def test_the_sound_is_whole_and_the_counters_are_right(what: str, delay: Delay) -> None:
    datagrams, received, empty = WHOLE[what]
    async with line(delay) as (far, near, voice, heard):
        await play(far, datagrams)
        reception = near.receiver.reception
        assert (reception.total_received, reception.total_lost) == (received, 0)
        assert near.receiver.empty_payloads == empty
        stats = voice.stats
    assert (stats.received, stats.lost, stats.malformed, stats.discarded) == (COUNT, 0, 0, 0)
    assert stats.decoded_ms == COUNT * 20
    pcm = np.concatenate(heard)
    loud = np.flatnonzero(np.abs(pcm) > 0.05)
    tone_itself = pcm[loud[0] + 2400 : loud[0] + round(0.9 * SECONDS * 48000)]
    levels = np.sqrt(np.mean(tone_itself[: len(tone_itself) // 480 * 480].reshape(-1, 480) ** 2, axis=1))
    if delay == "none":  # a machine that is late makes the other stretch the tone, which may dip in it
        assert levels.min() > 0.15
    assert roughness(tone_itself) < 0.01, "a step of this tone is 0.3"


async def test_a_peer_may_answer_with_another_payload_type_and_send_with_ours() -> None:
    """RFC 3264 §6.1: what it sends follows our offer, what we send follows its answer; it may use both."""
    client, server = make_end(), make_end(tone())
    try:
        answer = await server.peer.answer(await client.peer.offer())
        answer = re.sub(r"(SAVPF|a=rtpmap:|a=fmtp:) ?96\b", lambda m: m[0].replace("96", "111"), answer)
        await client.peer.accept(answer)
        await asyncio.gather(client.peer.opened(), server.peer.opened())
        async with asyncio.timeout(10):
            await client.voice.wait_for(10)
            count = len(client.voice.packets)
            for number in range(5):
                await send(server, numbered(number, b"\xf8\xff\xfe", payload_type=111, ssrc=OTHER))
            await client.voice.wait_for(count + 20)
        assert [payload for *_, payload, _ in client.voice.packets].count(b"\xf8\xff\xfe") == 5
        assert client.voice.restarts >= 2, "there, and back again"
    finally:
        await asyncio.gather(client.peer.close(), server.peer.close())
