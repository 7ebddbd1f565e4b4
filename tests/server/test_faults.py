"""Faults on demand: each really happens, and only that one."""

import asyncio
import itertools
import re

import pytest

from rtc_signaling import RequestRejected, SdpClient, SignalingTimeout, mint_client_secret
from rtc_transport.errors import ConnectError
from rtc_transport.server import BadText, Faults, RealtimeServer
from rtc_transport.server.faults import is_dtls, is_rtp
from support.wire_client import calling, nothing_left_running, offering


@pytest.mark.parametrize("status", [401, 403, 404, 429, 500, 503])
@pytest.mark.parametrize("body", ["json", "html", "empty"])
async def test_a_call_is_refused_with_a_status_and_any_body(status: int, body: str) -> None:
    faults = Faults(status=status, body=body)  # type: ignore[arg-type]  # the literal comes from the list above
    async with RealtimeServer(faults=faults) as server, offering(server) as client:
        with pytest.raises(RequestRejected) as caught:
            await client.post()
    assert caught.value.status == status
    assert caught.value.code == ("refused_on_purpose" if body == "json" else None)
    await nothing_left_running()


async def test_keys_can_still_be_minted_while_calls_are_refused() -> None:
    async with RealtimeServer(faults=Faults(status=500)) as server:
        assert (await mint_client_secret("sk-test", base_url=server.url)).value.startswith("ek_")


async def test_the_answer_can_be_slow() -> None:
    async with RealtimeServer(faults=Faults(answer_delay_seconds=0.4)) as server, offering(server) as client:
        start = asyncio.get_running_loop().time()
        await client.post()
        assert asyncio.get_running_loop().time() - start >= 0.4


async def test_the_answer_can_be_missing() -> None:
    async with (
        RealtimeServer(faults=Faults(never_answer=True)) as server,
        SdpClient(base_url=server.url) as http,
    ):
        with pytest.raises(SignalingTimeout):
            await http.exchange("v=0\r\n", key="sk", session={"model": "m"}, timeout_seconds=0.3)
        assert not server.calls
    await nothing_left_running()


async def test_the_answer_can_refuse_the_channel() -> None:
    async with RealtimeServer(faults=Faults(no_channel=True)) as server, offering(server) as client:
        answer = await client.post()
        assert "m=application 0 " in answer.sdp
        with pytest.raises(ConnectError, match="the answer has no data channel"):
            await client.peer.accept(answer.sdp)


async def test_the_answer_can_have_only_tcp_candidates() -> None:
    async with RealtimeServer(faults=Faults(tcp_only=True)) as server, offering(server) as client:
        answer = await client.post()
        candidates = re.findall(r"(?m)^a=candidate:.*$", answer.sdp)
        assert candidates
        assert all(" tcp " in line and line.rstrip().endswith("tcptype passive") for line in candidates)
        with pytest.raises(ConnectError, match="only TCP candidates"):
            await client.peer.accept(answer.sdp)


async def test_the_channel_can_stay_closed_though_the_path_is_there() -> None:
    async with RealtimeServer(faults=Faults(never_open=True)) as server, offering(server) as client:
        await client.peer.accept((await client.post()).sdp)
        async with asyncio.timeout(5):
            await client.voice.wait_for(10)  # sound passes
        assert client.peer.progress.stage == "channel"
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(client.peer.opened(), 0.5)


async def test_updates_can_go_unanswered() -> None:
    async with RealtimeServer(faults=Faults(no_acknowledgement=True)) as server, calling(server) as client:
        client.send("session.update", session={"type": "realtime"})
        client.send("input_audio_buffer.clear")
        await client.wait_for("input_audio_buffer.cleared")
        assert "session.updated" not in [event["type"] for event in client.events]


async def test_updates_can_be_refused() -> None:
    async with RealtimeServer(faults=Faults(reject_update="Not today.")) as server, calling(server) as client:
        client.send("session.update", session={"type": "realtime"}, event_id="mine")
        error = (await client.wait_for("error"))["error"]
    assert (error["message"], error["event_id"]) == ("Not today.", "mine")


async def test_the_server_can_hang_up() -> None:
    async with RealtimeServer(faults=Faults(hang_up_after_seconds=0.2)) as server, calling(server) as client:
        await asyncio.wait_for(client.closed, 3)
        assert client.call.ended == "hung up on purpose"


async def test_the_channel_alone_can_be_closed() -> None:
    faults = Faults(close_channel_after_seconds=0.2)
    async with RealtimeServer(faults=faults) as server, calling(server) as client:
        assert await asyncio.wait_for(client.closed, 3) == "the peer closed the control channel"
        count = len(client.voice.packets)
        async with asyncio.timeout(3):
            await client.voice.wait_for(count + 10)  # sound still comes
        assert client.call.ended is None
    await asyncio.wait_for(client.call.wait_for("call.ended"), 3)


async def test_garbage_can_be_sent() -> None:
    garbage = ("{", '{"type": 5}', b"\x00\xff", BadText("{}"))
    async with RealtimeServer(faults=Faults(garbage=garbage)) as server, calling(server) as client:
        client.send("session.update", session={"type": "realtime"})
        await client.wait_for("session.updated")
        assert client.messages.count("{") == 1
        assert client.messages.count(b"\x00\xff") == 1
        assert client.messages.count(b"\xff\xfe{}") == 1  # text that is not UTF-8


async def test_audio_packets_can_be_lost() -> None:
    async with RealtimeServer(faults=Faults(loss=0.3)) as server, calling(server) as client:
        async with asyncio.timeout(5):
            await client.voice.wait_for(40)
        sequences = [packet[0] for packet in client.voice.packets[:40]]
    steps = [(b - a) & 0xFFFF for a, b in itertools.pairwise(sequences)]
    assert sum(step - 1 for step in steps) > 5


async def test_the_seed_decides_which_packets_are_lost() -> None:
    async def lost(seed: int) -> list[int]:
        sent: list[bytes] = []

        async def send(datagram: bytes) -> None:
            sent.append(datagram)

        faulty = Faults(loss=0.3, seed=seed).wire(lambda: None)(send)
        packets = [b"\x80\x60" + bytes([number]) for number in range(100)]
        for packet in packets:
            await faulty(packet)
        return [packet[2] for packet in packets if packet not in sent]

    assert await lost(1) == await lost(1) != await lost(2)
    assert 15 < len(await lost(1)) < 45


async def test_control_packets_can_be_lost_and_are_repaired() -> None:
    async with RealtimeServer(faults=Faults(control_loss=0.2)) as server, calling(server) as client:
        for number in range(1, 21):
            client.send("input_audio_buffer.clear")
            await client.wait_for("input_audio_buffer.cleared", number)


async def test_everything_can_stall_for_a_while() -> None:
    faults = Faults(stall_at_seconds=0.3, stall_seconds=0.6)
    async with RealtimeServer(faults=faults) as server, calling(server) as client:
        await asyncio.sleep(1.3)
        times = [packet[3] for packet in client.voice.packets]
    gaps = [b - a for a, b in itertools.pairwise(times)]
    assert 0.55 < max(gaps) < 1.0
    assert sorted(gaps)[-2] < 0.3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"loss": 2}, "loss is a share, 0 to 1, not 2"),
        ({"control_loss": -1}, "control_loss is a share, 0 to 1, not -1"),
        ({"status": 200}, "status is that of a refusal, 400 to 599, not 200"),
    ],
)
def test_faults_that_make_no_sense_are_refused(options: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Faults(**options)  # type: ignore[arg-type]  # wrong on purpose


def test_datagrams_are_told_apart() -> None:
    rtp, rtcp, dtls, stun = b"\x80\x60", b"\x80\xc8", b"\x17\xfe", b"\x00\x01"
    assert [is_rtp(d) for d in (rtp, rtcp, dtls, stun, b"")] == [True, False, False, False, False]
    assert [is_dtls(d) for d in (rtp, rtcp, dtls, stun, b"")] == [False, False, True, False, False]
