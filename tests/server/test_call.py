"""Calls over real WebRTC: sound both ways, events, and how calls end."""

import asyncio
import itertools
import json
import re
from collections.abc import AsyncIterator, Callable
from importlib.resources import files
from typing import Any

import numpy as np
import pytest
import pytest_asyncio
from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import AudioStreamTrack
from av import AudioFrame

from rtc_signaling import SdpClient
from rtc_transport.errors import NotConnectedError
from rtc_transport.server import BadText, LoggedEvent, Prompt, RealtimeServer, Speech
from rtc_transport.server.replies import read_voice, tone_pcm
from support.openai_events import check_server_event
from support.wire_client import calling, envelope, likeness, nothing_left_running, offering


def tone(seconds: float) -> "np.ndarray[tuple[int], np.dtype[np.float32]]":
    return np.repeat(tone_pcm(seconds), 2)  # 48 kHz


@pytest_asyncio.fixture
async def server() -> AsyncIterator[RealtimeServer]:
    async with RealtimeServer() as server:
        yield server
    await nothing_left_running()


async def test_the_parrot_says_back_what_it_heard(server: RealtimeServer) -> None:
    speech = read_voice(str(files("rtc_transport") / "data" / "speech.wav"))[: 24000 * 2]
    async with calling(server) as client:
        client.speaker.say(np.repeat(speech, 2))
        await client.wait_for("output_audio_buffer.stopped")
        said = envelope(client.heard(), 48000)
        heard = envelope(client.call.heard(), 24000)
    spoken = envelope(speech, 24000)
    assert likeness(spoken, heard) > 0.95
    assert likeness(spoken, said) > 0.9
    assert [event["type"] for event in client.events].count("response.done") == 1  # one turn
    for event in client.events:
        check_server_event(event)


async def test_a_clear_stops_the_voice_within_three_packets(server: RealtimeServer) -> None:
    async with calling(server) as client:
        client.speaker.say(tone(2.0))
        started = await client.wait_for("output_audio_buffer.started")
        await asyncio.sleep(0.7)
        cleared_at = asyncio.get_running_loop().time()
        client.send("response.cancel")
        client.send("output_audio_buffer.clear")
        cleared = await client.wait_for("output_audio_buffer.cleared")
        await asyncio.sleep(0.3)
    assert cleared["response_id"] == started["response_id"]
    assert client.loud_packets_after(0) > 10
    assert client.loud_packets_after(cleared_at) <= 3  # 60 ms
    done = await client.wait_for("response.done")
    assert done["response"]["status"] == "cancelled"


async def test_between_turns_there_is_silence_at_50_packets_a_second(server: RealtimeServer) -> None:
    async with calling(server) as client:
        await client.voice.wait_for(50)
        packets = client.voice.packets[-45:]
        assert not client.loud_packets_after(0)
    steps = {b[1] - a[1] for a, b in itertools.pairwise(packets)}
    assert min(steps) == 960  # 20 ms; more where the loop was late
    assert all(step % 960 == 0 for step in steps)
    sent_seconds = (packets[-1][1] - packets[0][1]) / 48000
    assert sent_seconds == pytest.approx(packets[-1][3] - packets[0][3], abs=0.1)


async def test_a_pausing_server_sends_nothing_between_turns() -> None:
    async with RealtimeServer(pause=True, reply="tone") as server, calling(server) as client:
        await asyncio.sleep(0.3)
        assert client.voice.packets == []
        client.send("response.create")
        await client.wait_for("output_audio_buffer.stopped")
        await asyncio.sleep(0.1)
        assert 49 <= len(client.voice.packets) <= 54  # a second of voice
        count = len(client.voice.packets)
        await asyncio.sleep(0.3)
        assert len(client.voice.packets) == count


async def test_an_offer_without_candidates_is_answered(server: RealtimeServer) -> None:
    def bare(sdp: str) -> str:  # as browsers send it before gathering
        lines = sdp.splitlines(keepends=True)
        return "".join(line for line in lines if not line.startswith(("a=candidate", "a=end-of-cand")))

    async with calling(server, bare) as client:
        pass
    assert client.answer is not None
    assert " 127.0.0.1 " in client.answer.sdp
    assert "a=max-message-size:262144" in client.answer.sdp
    assert "useinbandfec=1" in client.answer.sdp


async def test_bad_messages_get_an_error_and_the_call_goes_on(server: RealtimeServer) -> None:
    async with calling(server) as client:
        messages: list[str | bytes] = ["{", b"\x00\xff", BadText("{}"), '{"type": "dance"}']
        for number, message in enumerate(messages, 1):
            client.send_raw(message)
            await client.wait_for("error", number)
        client.send("session.update", session={"type": "realtime"})
        await client.wait_for("session.updated")
    codes = [event["error"]["code"] for event in client.events if event["type"] == "error"]
    assert codes == ["invalid_json", "invalid_json", "invalid_json", "invalid_value"]
    assert [e.event["type"] for e in client.call.events if e.sender == "client"][:3] == ["(malformed)"] * 3
    assert json.dumps([e.event for e in client.call.events])


def with_message_limit(size: int) -> Callable[[str], str]:
    return lambda sdp: re.sub(r"a=max-message-size:\d+", f"a=max-message-size:{size}", sdp)


async def test_half_a_character_comes_back_as_it_came(server: RealtimeServer) -> None:
    async with calling(server) as client:
        client.send_raw(
            r'{"type": "session.update", "session": {"type": "realtime", "instructions": "\ud83d ü"}}'
        )
        assert (await client.wait_for("session.updated"))["session"]["instructions"] == "\ud83d ü"


async def test_large_events_pass_both_ways_up_to_the_limit_of_the_peer(server: RealtimeServer) -> None:
    async with calling(server, with_message_limit(65536)) as client:
        fits = "x" * 60_000
        client.send("session.update", session={"type": "realtime", "instructions": fits})
        assert (await client.wait_for("session.updated"))["session"]["instructions"] == fits
        too_large = "x" * 100_000  # for this client, not for the server
        client.send("session.update", session={"type": "realtime", "instructions": too_large})
        error = (await client.wait_for("error"))["error"]
    assert error["code"] == "event_too_large"
    assert error["message"].startswith("A session.updated event of 100")


@pytest.mark.parametrize(("limit", "comes_back"), [(262_144, True), (65_536, False)])
async def test_images_are_accepted_and_come_back_if_they_fit(
    server: RealtimeServer, limit: int, comes_back: bool
) -> None:
    async with calling(server, with_message_limit(limit)) as client:
        image = {"type": "input_image", "image_url": "data:image/jpeg;base64," + "A" * 150_000}
        item = {"type": "message", "role": "user", "content": [image]}
        client.send("conversation.item.create", item=item)
        done = await client.wait_for("conversation.item.done")
    assert done["item"]["content"] == [image if comes_back else {"type": "input_image"}]


async def test_a_stock_aiortc_client_holds_a_call(server: RealtimeServer) -> None:
    """Nothing of ours on the client's side, and the channel is used before it is open on the other."""
    connection = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    connection.addTrack(ToneTrack())
    events = connection.createDataChannel("oai-events")
    received: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    events.on("message", lambda message: received.put_nowait(json.loads(message)))
    try:
        await connection.setLocalDescription(await connection.createOffer())
        async with SdpClient(base_url=server.url) as http:
            answer = await http.exchange(connection.localDescription.sdp, key="sk", session={"model": "m"})
        await connection.setRemoteDescription(RTCSessionDescription(answer.sdp, "answer"))
        seen: list[str] = []
        while "output_audio_buffer.started" not in seen:
            seen.append((await received.get())["type"])
        (receiver,) = connection.getReceivers()
        async with asyncio.timeout(5):
            while level(await receiver.track.recv()) < 1000:
                pass
    finally:
        await connection.close()
    assert seen[:3] == [
        "session.created",
        "input_audio_buffer.speech_started",
        "input_audio_buffer.speech_stopped",
    ]


def level(frame: object) -> int:
    assert isinstance(frame, AudioFrame)
    return int(np.abs(frame.to_ndarray()).max())


class ToneTrack(AudioStreamTrack):
    """A second of tone, then silence, in aiortc's own format and pace."""

    async def recv(self) -> AudioFrame:
        silent = await super().recv()
        assert isinstance(silent, AudioFrame)
        assert silent.pts is not None
        if silent.pts > 8000:
            return silent
        pcm = (np.sin(np.arange(silent.samples) * 2 * np.pi / 20) * 8000).astype(np.int16)
        frame = AudioFrame.from_ndarray(pcm.reshape(1, -1), format="s16", layout="mono")
        frame.pts, frame.sample_rate, frame.time_base = silent.pts, silent.sample_rate, silent.time_base
        return frame


async def test_a_client_that_only_listens_is_answered(server: RealtimeServer) -> None:
    def listening(sdp: str) -> str:
        return sdp.replace("a=sendrecv", "a=recvonly")

    async with calling(server, listening) as client:
        client.send("response.create")
        await client.wait_for("output_audio_buffer.stopped")
        assert client.loud_packets_after(0) > 40


async def test_without_the_private_hooks_the_server_hears_by_the_stock_receiver(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("rtc_transport.receiver.take_rtp", lambda *_: None)
    async with RealtimeServer() as server, calling(server) as client:
        client.speaker.say(tone(0.5))
        committed = await client.wait_for("conversation.item.done")
        assert np.abs(client.call.heard()).max() > 0.05
    assert committed["item"]["role"] == "user"


async def test_two_calls_at_once_do_not_hear_each_other(server: RealtimeServer) -> None:
    async with calling(server) as one, calling(server) as two:
        one.speaker.say(tone(0.5))
        await one.wait_for("output_audio_buffer.stopped")
        assert [event["type"] for event in two.events] == ["session.created"]
        assert len(server.calls) == 2


async def test_the_session_of_the_call_holds_from_the_start(server: RealtimeServer) -> None:
    async with calling(server, instructions="Be brief.", model="gpt-realtime-2") as client:
        created = await client.wait_for("session.created")
        client.send("session.update", session={"type": "realtime", "model": "other"}, event_id="e1")
        error = await client.wait_for("error")
    assert (created["session"]["model"], created["session"]["instructions"]) == (
        "gpt-realtime-2",
        "Be brief.",
    )
    assert (error["error"]["code"], error["error"]["event_id"]) == ("cannot_update_model", "e1")


# ---- how calls end


async def test_a_client_that_leaves_ends_the_call(server: RealtimeServer) -> None:
    async with calling(server) as client:
        call = client.call
    ended = await asyncio.wait_for(call.wait_for("call.ended"), 2)
    assert ended["reason"] in ("the peer ended the connection", "the peer closed the control channel")


async def test_hanging_up_over_http_ends_the_call(server: RealtimeServer) -> None:
    async with calling(server) as client, SdpClient(base_url=server.url) as http:
        await http.hangup(client.call.id, key="sk-test")
        await asyncio.wait_for(client.closed, 2)
        assert client.call.ended == "hung up over HTTP"


async def test_an_expired_session_says_so_and_ends() -> None:
    async with RealtimeServer(max_session_seconds=0.3) as server, calling(server) as client:
        error = await client.wait_for("error")
        await asyncio.wait_for(client.closed, 3)
    assert error["error"]["code"] == "session_expired"


async def test_the_end_of_the_server_ends_all_calls_within_two_seconds() -> None:
    async with (
        RealtimeServer() as server,
        calling(server) as one,
        calling(server) as two,
        offering(server) as three,
    ):
        await three.post()  # and never connects
        start = asyncio.get_running_loop().time()
        await server.aclose()
        assert asyncio.get_running_loop().time() - start < 2
        assert [client.call.ended for client in (one, two, three)] == ["the server is shutting down"] * 3
    await nothing_left_running()


async def test_cancelled_closing_still_closes(server: RealtimeServer) -> None:
    async with calling(server) as client:
        closing = asyncio.ensure_future(server.aclose())
        await asyncio.sleep(0)
        closing.cancel()
        await asyncio.gather(closing, return_exceptions=True)
        await server.aclose()
        assert client.call.ended == "the server is shutting down"


# ---- for tests and onlookers


async def test_every_event_is_logged_and_shown(server: RealtimeServer) -> None:
    seen: list[LoggedEvent] = []
    async with RealtimeServer(on_event=seen.append) as watched, calling(watched) as client:
        client.send("input_audio_buffer.clear", event_id="mine")
        await client.call.wait_for("input_audio_buffer.cleared", "server")
    assert [(e.sender, e.event["type"]) for e in seen] == [
        ("call", "call.started"),
        ("call", "call.opened"),
        ("server", "session.created"),
        ("client", "input_audio_buffer.clear"),
        ("server", "input_audio_buffer.cleared"),
        ("call", "call.ended"),
    ]
    assert list(client.call.events) == seen
    assert json.dumps([e.event for e in seen])


async def test_an_onlooker_that_raises_does_not_end_the_call(caplog: pytest.LogCaptureFixture) -> None:
    def faulty(event: LoggedEvent) -> None:
        raise RuntimeError("onlooker")

    async with RealtimeServer(on_event=faulty) as server, calling(server) as client:
        client.send("session.update", session={"type": "realtime"})
        await client.wait_for("session.updated")
    assert "on_event raised" in caplog.text


class Mute:
    """A reply of one's own that answers with a message without sound, or not at all."""

    def transcribe(self, audio: object) -> str | None:
        return None

    def respond(self, prompt: Prompt) -> list[Speech]:
        return [Speech("", np.zeros(0, np.float32))] if prompt.text else []

    def mcp_tools(self, server_label: str) -> None:
        return None


async def test_a_reply_of_ones_own_may_say_nothing() -> None:
    async with RealtimeServer(reply=Mute()) as server, calling(server) as client:
        client.send("response.create")
        assert (await client.wait_for("response.done"))["response"]["output"] == []
        item = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Hi"}]}
        client.send("conversation.item.create", item=item)
        client.send("response.create")
        done = await client.wait_for("response.done", 2)
    assert done["response"]["output"][0]["content"] == [{"type": "output_audio", "transcript": ""}]
    assert not [event for event in client.events if event["type"].startswith("output_audio_buffer")]


async def test_a_fault_of_the_server_ends_the_call_and_no_other(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, server: RealtimeServer
) -> None:
    async with calling(server) as one, calling(server) as two:
        assert one.call._session is not None
        monkeypatch.setattr(one.call._session, "receive", None)
        one.send("input_audio_buffer.clear")
        await asyncio.wait_for(one.closed, 3)
        assert one.call.ended == "the server failed"
        two.send("input_audio_buffer.clear")
        await two.wait_for("input_audio_buffer.cleared")
    assert "failed" in caplog.text


async def test_events_can_be_injected(server: RealtimeServer) -> None:
    async with calling(server) as client:
        client.call.inject({"type": "input_audio_buffer.dtmf_event_received", "event": "7", "received_at": 1})
        event = await client.wait_for("input_audio_buffer.dtmf_event_received")
        assert event["event"] == "7"
        call = client.call
    await asyncio.wait_for(call.wait_for("call.ended"), 2)
    with pytest.raises(NotConnectedError, match="has no open channel"):
        call.inject({"type": "any"})
    with pytest.raises(NotConnectedError, match="without dance"):
        await call.wait_for("dance")
