"""Pins the private names of aiortc and aioice: what fails here names what a new release took away."""

import asyncio
import logging
import sys
from types import SimpleNamespace
from typing import Any

import pylibsrtp
import pytest

from rtc_transport import internals
from rtc_transport.internals import checks
from rtc_transport.receiver import StockReceiver, attach_receiver
from support.peers import Packets, connected_pair, make_end


@pytest.fixture(autouse=True)
def _fresh_warnings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "warned", set())


async def test_this_aiortc_has_every_private_name_we_use(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "rtc_transport.internals"):
        async with connected_pair() as (client, _):
            async with asyncio.timeout(10):
                await client.voice.wait_for(5)  # so that the short way of RTP has been looked for
            assert client.peer.channel is not None
            internals.SctpMonitor(client.peer.channel, lambda: None).close()
    assert not caplog.records, f"written for {internals.WRITTEN_FOR}: {caplog.text}"


async def test_without_the_hooks_the_stock_receiver_delivers(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delattr("aiortc.rtcdtlstransport.RTCDtlsTransport._unregister_rtp_receiver")
    end = make_end()
    monkeypatch.undo()
    receiver = end.peer.receiver
    assert isinstance(receiver, StockReceiver)
    assert (
        "the own audio receiver is off: this aiortc has no RTCDtlsTransport._unregister_rtp_receiver"
        in caplog.text
    )
    await end.peer.close()


async def test_the_stock_receiver_hands_on_decoded_sound() -> None:
    client, server = make_end(), make_end()
    transceiver = server.peer.connection.getTransceivers()[0]
    del vars(transceiver.receiver)["receive"]  # as if it had never been taken
    stock = StockReceiver(transceiver, server.voice)
    try:
        await client.peer.accept(await server.peer.answer(await client.peer.offer()))
        async with asyncio.timeout(10):
            await server.voice.wait_for(10)
        assert server.voice.packets == []
        assert all(frame.ndim == 1 and len(frame) == 960 for frame in server.voice.frames)
    finally:
        await stock.aclose()
        await asyncio.gather(client.peer.close(), server.peer.close())


async def test_the_own_receiver_is_taken_once_per_transceiver() -> None:
    end = make_end()
    try:
        receiver = attach_receiver(end.peer.connection.getTransceivers()[0], Packets())
        assert receiver.own
    finally:
        await end.peer.close()


class _Handler:
    def __init__(self) -> None:
        self.packets: list[tuple[int, int, bytes]] = []

    def _handle_disconnect(self) -> None: ...
    async def _handle_rtcp_packet(self, packet: Any) -> None: ...
    async def _handle_rtp_packet(self, packet: Any, arrival_time_ms: int) -> None: ...

    def rtp(self, sequence: int, timestamp: int, payload: bytes) -> None:
        self.packets.append((sequence, timestamp, payload))


class _Connection:
    def __init__(self) -> None:
        self.stock: list[bytes] = []

    def data_received(self, data: bytes, component: int) -> None:
        self.stock.append(data)


def _unprotect(data: bytes) -> bytes:
    if data.endswith(b"forged"):
        raise pylibsrtp.Error("authentication failure")
    return data


async def test_only_plain_rtp_of_the_known_stream_takes_the_short_way() -> None:
    end, handler, connection = make_end(), _Handler(), _Connection()
    transceiver = end.peer.connection.getTransceivers()[0]
    port = internals.take_rtp(transceiver, handler, lambda: None)
    assert port is not None
    assert not port.shorten(0x01020304, 96), "nothing is connected"
    dtls = SimpleNamespace(
        _rx_srtp=SimpleNamespace(unprotect=_unprotect),
        transport=SimpleNamespace(_connection=connection),
        _unregister_rtp_receiver=lambda handler: None,
    )
    port._registered_with = dtls
    assert port.shorten(0x01020304, 96)
    header = bytes([0x80, 0x80 | 96, 0xFF, 0xFE, 0, 0, 3, 0xC0, 1, 2, 3, 4])
    extended = bytes([0x90]) + header[1:] + bytes([0xBE, 0xDE, 0, 1, 0x10, 0x30, 0, 0])
    for packet in (header + b"opus", extended + b"sound", header, header + b"forged"):
        connection.data_received(packet, 1)
    assert handler.packets == [(0xFFFE, 960, b"opus"), (0xFFFE, 960, b"sound"), (0xFFFE, 960, b"")]
    assert connection.stock == []

    others = [
        header[:1] + bytes([97]) + header[2:],  # another payload type
        header[:-1] + bytes([5]),  # another source
        bytes([0xA0]) + header[1:],  # padding
        bytes([0x81]) + header[1:] + bytes(4),  # a contributing source
        bytes([0x80, 200]) + header[2:],  # RTCP
        bytes([22]) + header[1:],  # DTLS
        header[:11],
        b"",
    ]
    for datagram in others:
        connection.data_received(datagram, 1)
    assert connection.stock == others
    assert port.shorten(0x01020305, 97)
    connection.data_received(header + b"opus", 1)
    assert (connection.stock[-1], len(handler.packets)) == (header + b"opus", 3)
    port.close()
    assert "data_received" not in vars(connection)
    await end.peer.close()


async def test_packets_take_the_short_way_and_the_long_one_where_there_is_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for short in (True, False):
        if not short:
            monkeypatch.setattr(internals.RtpPort, "shorten", lambda *_: False)
        async with connected_pair() as (client, server):
            async with asyncio.timeout(10):
                await server.voice.wait_for(10)
            dtls = client.peer.connection.getSenders()[0].transport
            private: Any = dtls.transport
            assert ("data_received" in vars(private._connection)) == short


async def test_without_pylibsrtp_packets_take_the_long_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is a dependency of aiortc, which may change."""
    monkeypatch.setitem(sys.modules, "pylibsrtp", None)
    async with connected_pair() as (client, server):
        async with asyncio.timeout(10):
            await server.voice.wait_for(10)
        private: Any = client.peer.connection.getSenders()[0].transport.transport
        assert "data_received" not in vars(private._connection)
        assert client.peer.receiver.reception.total_received >= 1
