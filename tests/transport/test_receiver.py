"""What ends or garbles aiortc's own reception, on the wire of a real pair: the voice goes on."""

import asyncio

import pytest
from aiortc.rtp import RtcpByePacket, RtpPacket

from rtc_transport.receiver import OwnReceiver
from support.peers import End, connected_pair, tone


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
