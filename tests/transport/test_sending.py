"""Our packets on their way out, without the stock sender's loop: what is on the wire, when, and how it ends."""

import asyncio
import itertools
import logging
import time
from collections import Counter
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from aiortc.rtp import RtcpByePacket, RtcpPacket, RtcpSrPacket, RtpPacket

from rtc_audio.ports import PacketFormat
from rtc_transport import RealtimeServer, ToneSource, WebRTCTransport, internals
from rtc_transport.internals import checks, sending
from rtc_transport.tracks import OpusSettings, OutgoingTrack
from support.peers import End, Link, connected_pair, is_rtp, make_end, silence, tone
from support.transports import call_of, eventually
from support.virtual_time import VirtualTimeLoop


@pytest.fixture(params=["own", "stock"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Our loop, or that of an aiortc which lacks a name."""
    monkeypatch.setattr(checks, "warned", set())
    if request.param == "stock":
        monkeypatch.setattr(sending, "_SENDER_NAMES", ("_RTCRtpSender__gone",))
    return str(request.param)


class Wire:
    """What an end sends, before SRTP."""

    def __init__(self, end: End) -> None:
        self.rtp: list[RtpPacket] = []
        self.rtcp: list[Any] = []
        dtls: Any = end.peer.connection.getSenders()[0].transport
        stock = dtls._send_rtp

        async def send(data: bytes) -> None:
            await stock(data)
            if 192 <= data[1] <= 223:
                self.rtcp += RtcpPacket.parse(data)
            else:
                self.rtp.append(RtpPacket.parse(data, dtls._rtp_header_extensions_map))

        dtls._send_rtp = send


async def test_on_the_wire_it_is_what_the_stock_loop_sends(
    way: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "rtc_transport.internals"):
        client, server = make_end(tone()), make_end()
    sender = client.peer.connection.getSenders()[0]
    assert ("_run_rtp" in vars(sender)) == (way == "own")
    assert caplog.text.count("the own sending of RTP is off") == (way == "stock")
    wire = Wire(client)
    try:
        async with asyncio.timeout(10):
            await client.peer.accept(await server.peer.answer(await client.peer.offer()))
            await asyncio.gather(client.peer.opened(), server.peer.opened())
            await server.voice.wait_for(30)
            await eventually(lambda: bool(wire.rtcp))
    finally:
        await asyncio.gather(client.peer.close(), server.peer.close())
    first = wire.rtp[0]
    for before, packet in itertools.pairwise(wire.rtp):
        assert packet.sequence_number == (before.sequence_number + 1) & 0xFFFF
        assert (packet.timestamp - before.timestamp) & 0xFFFFFFFF in range(960, 100 * 960, 960)
    assert first.sequence_number < 1 << 15
    for packet in wire.rtp:
        assert (packet.payload_type, packet.marker, packet.ssrc) == (96, 1, sender._ssrc)
        assert (packet.extensions.mid, packet.csrc, packet.padding_size) == ("0", [], 0)
        assert packet.extensions.audio_level is None
    assert [packet[2] for packet in server.voice.packets[:20]] == [packet.payload for packet in wire.rtp[:20]]
    assert client.track.readyState == "ended"
    assert [source for bye in wire.rtcp if isinstance(bye, RtcpByePacket) for source in bye.sources] == [
        sender._ssrc
    ]


async def test_reports_and_statistics_count_what_was_sent(way: str) -> None:
    client, server = make_end(tone()), make_end()
    wire, sender = Wire(client), client.peer.connection.getSenders()[0]

    def reports() -> list[RtcpSrPacket]:
        return [packet for packet in wire.rtcp if isinstance(packet, RtcpSrPacket)]

    try:
        async with asyncio.timeout(10):
            await client.peer.accept(await server.peer.answer(await client.peer.offer()))
            await eventually(lambda: bool(reports()))
            info, at = reports()[0].sender_info, time.time()
        found = (await sender.getStats())[f"outbound-rtp_{id(sender)}"]
        sent = list(wire.rtp)
        assert found.packetsSent == client.track.packets_sent == len(sent)
        assert found.bytesSent == client.track.bytes_sent == sum(len(packet.payload) for packet in sent)
        assert 0 < info.packet_count <= len(sent)
        told = sent[info.packet_count - 1]
        assert info.rtp_timestamp == told.timestamp
        assert info.octet_count == sum(len(packet.payload) for packet in sent[: info.packet_count])
        assert abs(info.ntp_timestamp / (1 << 32) - sending.NTP_UNIX_SECONDS - at) < 1
    finally:
        await asyncio.gather(client.peer.close(), server.peer.close())


async def test_it_starts_anywhere_and_wraps() -> None:
    client, server = make_end(tone()), make_end()
    output: Any = vars(client.peer.connection.getSenders()[0])["_run_rtp"].__self__
    output._sequence, output._timestamp_origin = 0xFFFE, 0xFFFFFFFF - 960
    try:
        async with asyncio.timeout(10):
            await client.peer.accept(await server.peer.answer(await client.peer.offer()))
            await server.voice.wait_for(10)
    finally:
        await asyncio.gather(client.peer.close(), server.peer.close())
    assert [sequence for sequence, *_ in server.voice.packets[:4]] == [0xFFFE, 0xFFFF, 0, 1]
    origin = server.voice.packets[0][1]
    assert origin >= 1 << 31 > server.voice.packets[3][1]
    assert server.peer.receiver.reception.packets_lost == 0


async def test_a_disabled_sender_reads_on_and_sends_nothing() -> None:
    async with connected_pair(tone()) as (client, server), asyncio.timeout(10):
        await server.voice.wait_for(5)
        sender: Any = client.peer.connection.getSenders()[0]
        sender._enabled = False
        taken = client.track.packets_sent
        await asyncio.sleep(0.05)
        sent = len(server.voice.packets)
        await eventually(lambda: client.track.packets_sent >= taken + 10)
        assert len(server.voice.packets) == sent
        sender._enabled = True
        await server.voice.wait_for(sent + 5)


async def test_a_wire_that_waits_delays_packets_and_ends_with_the_call() -> None:
    """`wrap_sending` may wait: then packets overtake nothing, and what is under way at the end is dropped."""
    async with connected_pair(tone()) as (client, server), asyncio.timeout(10):
        await server.voice.wait_for(5)
        delay_seconds = 0.1

        def wrap(send: Any) -> Any:
            async def later(datagram: bytes) -> None:
                if is_rtp(datagram):
                    await asyncio.sleep(delay_seconds)
                await send(datagram)

            return later

        ice = client.peer.connection.getSenders()[0].transport.transport
        assert internals.wrap_sending(ice, wrap)
        await server.voice.wait_for(len(server.voice.packets) + 20)
        sequences = [sequence for sequence, *_ in server.voice.packets]
        assert [(b - a) & 0xFFFF for a, b in itertools.pairwise(sequences)] == [1] * (len(sequences) - 1)
        output: Any = vars(client.peer.connection.getSenders()[0])["_run_rtp"].__self__
        delay_seconds = 5.0
        await eventually(lambda: len(output._waiting) >= 3)
    await asyncio.sleep(0)
    assert not output._waiting


async def test_the_track_ends_with_the_connection() -> None:
    async with connected_pair(tone()) as (client, server), asyncio.timeout(10):
        await server.voice.wait_for(5)
        await server.peer.close()
        await client.closed
        await eventually(lambda: client.track.readyState == "ended")


# ---- the time of the track


class Feed:
    """Ready packets, so that an hour is over soon."""

    def __init__(self) -> None:
        self.at: Callable[[int], None] = lambda number: None
        self.number = 0

    def read_packet(self, limit: PacketFormat) -> bytes | None:
        self.number += 1
        self.at(self.number)
        return b"\xf8\xff\xfe"

    def take_lead_in(self) -> list[Any]:
        return []


def drive(
    loop: VirtualTimeLoop, feed: Feed, packets: int, on_skip: Callable[[int], None], how: str
) -> list[tuple[float, int]]:
    """Lets a track run until so many packets have come: (time, RTP time) of each."""
    sent: list[tuple[float, int]] = []

    async def run() -> None:
        track = OutgoingTrack(silence, OpusSettings(), packets=feed, on_skip=on_skip)

        def send(payload: bytes, timestamp: int) -> None:
            sent.append((loop.time(), timestamp))
            if len(sent) == packets:
                track.stop()

        if how == "drive":
            await track.drive(send)
        else:
            while len(sent) < packets:
                packet = await track.recv()
                assert packet.pts is not None
                send(bytes(packet), packet.pts)

    running: Coroutine[Any, Any, None] = run()
    try:
        loop.run_until_complete(running)
    finally:
        loop.close()
    return sent


@pytest.mark.parametrize(("how", "packets"), [("drive", 180_000), ("recv", 3000)])
def test_rtp_time_is_wall_time_over_an_hour_with_a_loop_that_is_always_late(how: str, packets: int) -> None:
    loop, feed = VirtualTimeLoop(2 * 3600.0), Feed()

    def late(number: int) -> None:
        loop.stall((number * 7 % 16) / 1000)  # up to 15 ms

    feed.at = late
    sent = drive(loop, feed, packets, lambda samples: pytest.fail(f"{samples} samples left out"), how)
    began = sent[0][0]
    behind = [now - began - timestamp / 48000 for now, timestamp in sent]
    assert max(map(abs, behind)) < 0.020
    assert sent[-1][1] == 960 * (packets - 1)


@pytest.mark.parametrize("how", ["drive", "recv"])
def test_after_a_stall_at_most_two_packets_come_back_to_back(how: str) -> None:
    loop, feed, skipped = VirtualTimeLoop(), Feed(), list[int]()

    def stall(number: int) -> None:
        if number % 100 == 50:
            loop.stall(0.5)

    feed.at = stall
    sent = drive(loop, feed, 500, skipped.append, how)
    times = [now for now, _ in sent]
    assert max(Counter(round(now, 6) for now in times).values()) <= 2
    in_a_frame = max(sum(1 for now in times if at <= now < at + 0.0199) for at in times)
    assert in_a_frame <= 2
    assert len(skipped) == 5
    assert [round(now - times[0] - timestamp / 48000, 3) for now, timestamp in sent[-20:]] == [0.0] * 20


async def test_what_send_raises_ends_it_and_comes_out() -> None:
    sent: list[int] = []

    def send(payload: bytes, timestamp: int) -> None:
        sent.append(timestamp)
        if len(sent) == 3:
            raise ConnectionError("gone")

    with pytest.raises(ConnectionError, match="gone"):
        await OutgoingTrack(silence).drive(send)
    await asyncio.sleep(0.05)
    assert sent == [0, 960, 1920]


# ---- what the peer reports


async def test_the_loss_that_the_peer_reports_is_what_the_encoder_expects(
    realtime_server: RealtimeServer,
) -> None:
    transport = WebRTCTransport(ToneSource(440, -20), None, base_url=realtime_server.url)
    async with transport:
        await transport.connect(api_key="test-key")
        call = transport._call
        assert call is not None
        assert call.track._encoder.expected_loss_percent == 10, "what is set"
        numbers = itertools.count()
        link = Link(call.peer, lambda datagram: is_rtp(datagram) and next(numbers) % 3 == 0)
        encoder = call.track._encoder
        await eventually(lambda: 25 <= encoder.expected_loss_percent <= 40, timeout=10)
        peer = call_of(realtime_server, transport)._peer.receiver.reception
        assert 0 < peer.packets_lost <= link.dropped
        assert transport.stats().peer_loss == pytest.approx(1 / 3, abs=0.1)
        assert 0 < peer.jitter_seconds < 0.05
        link.drop = lambda datagram: False
        await eventually(lambda: encoder.expected_loss_percent == 10, timeout=10)
