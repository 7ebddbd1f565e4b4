"""A real pair of peers: negotiation, packets both ways, the end in every order."""

import asyncio
import gc
import itertools
from typing import Any

import pytest

from rtc_transport.errors import ConnectError
from rtc_transport.sdp import OpusFormat, describe
from rtc_transport.tracks import OpusSettings
from support.peers import End, Link, connected_pair, is_rtp, make_end, tone


def assert_rtp_time(end: End, frame: int) -> None:
    """Timestamps go on frame by frame; a machine that was late may have left whole frames out."""
    timestamps = [timestamp for _, timestamp, _, _ in end.voice.packets]
    steps = {(b - a) & 0xFFFFFFFF for a, b in itertools.pairwise(timestamps)}
    assert min(steps) == frame
    assert all(step % frame == 0 for step in steps)


async def test_a_pair_connects_and_carries_voice_and_messages_both_ways() -> None:
    async with connected_pair(tone()) as (client, server):
        assert list(client.peer.progress.at) == ["ice", "dtls", "channel"]
        assert client.peer.channel is not None
        client.peer.channel.send("hello ñ")
        assert await server.messages.get() == "hello ñ"
        await server.voice.wait_for(20)
        await client.voice.wait_for(20)
        assert_rtp_time(server, 960)
        assert client.peer.receiver.own


async def test_the_offer_has_opus_only_with_our_parameters() -> None:
    end = make_end()
    try:
        offer = await end.peer.offer()
    finally:
        await end.peer.close()
    assert offer.count("a=rtpmap:") == 1
    assert describe(offer).opus == OpusFormat(useinbandfec=True, stereo=False, usedtx=False, minptime=10)
    assert " 127.0.0.1 " in offer
    assert "a=group:BUNDLE 0 1" in offer


@pytest.mark.parametrize("frame_ms", [10, 20, 40, 60])
async def test_frame_lengths_keep_rtp_time(frame_ms: int) -> None:
    async with connected_pair(tone(), OpusSettings(frame_ms=frame_ms)) as (_, server):
        await server.voice.wait_for(5)
        assert_rtp_time(server, 48 * frame_ms)


async def test_receiver_reports_reach_the_sender_with_loss_and_round_trip() -> None:
    async with connected_pair(tone()) as (client, server):
        numbers = itertools.count()
        link = Link(client.peer, lambda datagram: is_rtp(datagram) and next(numbers) % 5 == 4)
        sender = client.peer.connection.getSenders()[0]
        async with asyncio.timeout(10):
            while True:
                report = (await sender.getStats()).get(f"remote-inbound-rtp_{id(sender)}")
                if report is not None and report.roundTripTime is not None and report.packetsLost > 0:
                    break
                await asyncio.sleep(0.1)
        assert 0 < report.roundTripTime < 0.5
        assert link.dropped > 0
        assert server.peer.receiver.reception.packets_lost >= report.packetsLost


@pytest.mark.parametrize(
    ("change", "stage", "text"),
    [
        (lambda s: s.replace("m=application ", "m=video "), "signaling", "the answer has no data channel"),
        (lambda s: s.replace("m=audio ", "m=video "), "signaling", "the answer has no audio"),
        (lambda s: s.replace("opus/48000", "PCMU/8000"), "signaling", "the answer has no Opus"),
        (lambda s: s.replace(" udp ", " tcp "), "ice", "the answer has only TCP candidates"),
        (
            lambda s: s.replace("a=fingerprint", "a=print"),
            "signaling",
            "the answer has no ICE credentials or no DTLS",
        ),
        (lambda s: s.replace("a=rtcp-mux", "a=rtcp-mix"), "signaling", "the answer cannot be used: "),
    ],
)
async def test_answers_that_cannot_lead_to_a_call(change, stage: str, text: str) -> None:  # type: ignore[no-untyped-def]  # a lambda per row
    client, server = make_end(), make_end()
    try:
        answer = await server.peer.answer(await client.peer.offer())
        with pytest.raises(ConnectError) as caught:
            await client.peer.accept(change(answer))
        assert caught.value.stage == stage
        assert text in str(caught.value)
    finally:
        await asyncio.gather(client.peer.close(), server.peer.close())


@pytest.mark.parametrize("offer", ["", "v=0\r\n", "v=0\r\nm=audio 9 RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\n"])
async def test_offers_that_cannot_lead_to_a_call(offer: str) -> None:
    server = make_end()
    try:
        with pytest.raises(ConnectError, match="the offer has no Opus audio"):
            await server.peer.answer(offer)
    finally:
        await server.peer.close()


async def test_the_end_of_one_side_is_told_to_the_other_once() -> None:
    async with connected_pair() as (client, server):
        await server.peer.close()
        async with asyncio.timeout(5):
            assert "the peer" in await client.closed
        assert not server.closed.done()  # it was its own doing


async def test_a_cancelled_close_and_a_second_one_are_harmless() -> None:
    async with connected_pair() as (client, _):
        first = asyncio.create_task(client.peer.close())
        await asyncio.sleep(0)
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        async with asyncio.timeout(2):
            await client.peer.close()
        assert client.peer.connection.connectionState == "closed"


async def test_close_at_every_stage_of_a_connect_leaves_no_task() -> None:
    async def nothing(client: End, server: End) -> None: ...

    async def offered(client: End, server: End) -> None:
        await client.peer.offer()

    async def answered(client: End, server: End) -> None:
        await server.peer.answer(await client.peer.offer())

    async def accepted(client: End, server: End) -> None:
        await client.peer.accept(await server.peer.answer(await client.peer.offer()))

    for stage in (nothing, offered, answered, accepted):
        client, server = make_end(), make_end()
        await stage(client, server)
        await asyncio.gather(client.peer.close(), server.peer.close())
        with pytest.raises(ConnectError, match="the connection was closed"):
            await client.peer.opened()
    left = asyncio.all_tasks() - {asyncio.current_task()}  # aiortc's own need a turn or two to end
    assert not left or not (await asyncio.wait(left, timeout=2))[1]


async def test_a_close_amid_the_handshakes_is_silent() -> None:
    told: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: told.append(context))
    for milliseconds in range(0, 60, 3):
        client, server = make_end(), make_end()
        await client.peer.accept(await server.peer.answer(await client.peer.offer()))
        await asyncio.sleep(milliseconds / 1000)
        await asyncio.gather(client.peer.close(), server.peer.close())
        await asyncio.sleep(0.01)
        del client, server
    gc.collect()  # tasks that failed unheard speak up here
    assert told == []


async def test_a_text_message_that_is_not_utf8_arrives_as_bytes_and_the_call_goes_on() -> None:
    async with connected_pair() as (client, server):
        channel = client.peer.channel
        assert channel is not None
        assert channel.id is not None
        sctp = client.peer.connection.sctp
        assert sctp is not None
        await sctp._send(channel.id, 51, b"\xff\xfe{")  # what only a faulty peer sends
        assert await server.messages.get() == b"\xff\xfe{"
        channel.send("still here")
        assert await server.messages.get() == "still here"
