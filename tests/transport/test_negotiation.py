"""What both sides of a real call state of Opus in their descriptions, and that each obeys the other."""

import asyncio
import fractions
import re
from typing import Any

import av
import numpy as np
import pytest
from aiortc import (
    MediaStreamTrack,
    RTCBundlePolicy,
    RTCConfiguration,
    RTCPeerConnection,
    RTCSessionDescription,
)
from aiortc.mediastreams import MediaStreamError

from rtc_audio import CallbackSink
from rtc_audio.opus import packet_seconds
from rtc_transport import RealtimeServer, WebRTCTransport
from rtc_transport.peer import Peer, PeerEvents
from rtc_transport.sdp import OpusFormat, describe
from rtc_transport.tracks import OpusSettings, OutgoingTrack
from rtc_transport.voice import RemoteVoice
from support.peers import make_end, tone
from support.transports import call_of, connected, eventually
from support.voice_link import roughness

OURS = OpusFormat(useinbandfec=True, stereo=False, usedtx=False, minptime=10)
BROWSERS = {
    "Chromium": "a=fmtp:111 minptime=10;useinbandfec=1\r\na=rtpmap:63 red/48000/2\r\na=fmtp:63 111/111\r\n",
    "Firefox": "a=fmtp:111 maxplaybackrate=48000;stereo=1;useinbandfec=1\r\n",
    "nothing stated": "",
}


@pytest.mark.parametrize("browser", BROWSERS)
async def test_an_answer_has_opus_only_with_our_parameters(browser: str) -> None:
    client, server = make_end(), make_end()
    try:
        offer = re.sub(r"a=fmtp:96 [^\r]*\r\n", BROWSERS[browser], await client.peer.offer())
        offer = offer.replace("SAVPF 96", "SAVPF 111 63 9 0 13 126")
        offer = offer.replace("a=rtpmap:96 opus/48000/2", "a=rtpmap:0 PCMU/8000\r\na=rtpmap:111 opus/48000/2")
        answer = await server.peer.answer(offer)
    finally:
        await asyncio.gather(client.peer.close(), server.peer.close())
    assert re.findall(r"a=(?:rtpmap|fmtp):.*", answer.replace("\r", "")) == [
        "a=rtpmap:111 opus/48000/2",
        f"a=fmtp:111 {OURS.fmtp()}",
    ]
    assert describe(answer).opus == OURS


@pytest.mark.parametrize("dtx", [False, True])
async def test_both_sides_of_a_call_state_what_they_can(dtx: bool) -> None:
    settings = OpusSettings(dtx=dtx)
    async with RealtimeServer(opus=settings) as server, connected(server, opus=settings) as transport:
        assert transport._call is not None
        for peer in (transport._call.peer, call_of(server, transport)._peer):
            assert peer.remote is not None
            assert peer.remote.opus == OpusFormat(useinbandfec=True, stereo=False, usedtx=dtx, minptime=10)
        for track in (transport._call.track, call_of(server, transport)._track):
            assert track.settings.dtx == dtx


THRIFTY = "maxaveragebitrate=20000;useinbandfec=0;stereo=1"


def thrifty(sdp: str) -> str:
    return re.sub(r"(a=fmtp:\d+) [^\r]*\r\n", rf"\1 {THRIFTY}\r\na=maxptime:10\r\n", sdp)


async def test_what_the_peer_asks_for_is_obeyed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways: the packets on the wire are as short and the encoders as thrifty as the descriptions want them."""
    stock_offer, packets = Peer.offer, dict[str, list[bytes]](client=[], server=[])

    async def offer(self: Peer) -> str:
        return thrifty(await stock_offer(self))

    monkeypatch.setattr(Peer, "offer", offer)
    monkeypatch.setattr("rtc_transport.server.call._faulty_answer", lambda answer, faults: thrifty(answer))
    async with RealtimeServer() as server, connected(server) as transport:
        call, ours = call_of(server, transport), transport._call
        assert ours is not None
        for who, voice in (("client", call._hearing), ("server", transport._media.voice)):
            taken: Any = voice.packet

            def packet(
                sequence: int, timestamp: int, payload: bytes, now: float, who: str = who, taken: Any = taken
            ) -> None:
                packets[who].append(payload)
                taken(sequence, timestamp, payload, now)

            monkeypatch.setattr(voice, "packet", packet)
        await eventually(lambda: min(map(len, packets.values())) > 20)
        for track in (ours.track, call._track):
            assert track.settings.bitrate_bps == 20000
            assert (track.settings.frame_ms, track.settings.fec) == (10, False)
            assert (track._encoder.bitrate_bps, track._encoder.fec) == (20000, False)
        assert {packet_seconds(payload) for payloads in packets.values() for payload in payloads} == {0.01}


# --------------------------------------------------------------------------- with aiortc as it is


class StockTone(MediaStreamTrack):
    kind = "audio"

    def __init__(self, rate_hz: int, layout: str, frame_ms: int) -> None:
        super().__init__()
        self._rate_hz, self._layout, self._samples = rate_hz, layout, rate_hz * frame_ms // 1000
        self._position, self._began = 0, asyncio.get_running_loop().time()

    async def recv(self) -> av.AudioFrame:
        late = self._began + self._position / self._rate_hz - asyncio.get_running_loop().time()
        await asyncio.sleep(max(0.0, late))
        at = self._position + np.arange(self._samples)
        pcm = (9830 * np.sin(2 * np.pi * 440 * at / self._rate_hz)).astype(np.int16)
        pcm = np.repeat(pcm, 2 if self._layout == "stereo" else 1)
        frame = av.AudioFrame.from_ndarray(pcm[None], format="s16", layout=self._layout)
        frame.sample_rate, frame.pts = self._rate_hz, self._position
        frame.time_base = fractions.Fraction(1, self._rate_hz)
        self._position += self._samples
        return frame


@pytest.mark.parametrize(
    ("rate_hz", "layout", "frame_ms", "own_frame_ms"),
    [(48000, "stereo", 20, 20), (24000, "mono", 10, 60), (16000, "mono", 20, 10)],
)
async def test_a_call_with_plain_aiortc(rate_hz: int, layout: str, frame_ms: int, own_frame_ms: int) -> None:
    """Its descriptions state nothing of Opus; both sides hear an unbroken tone."""
    ours, theirs, voice = list[np.ndarray](), list[np.ndarray](), RemoteVoice()
    await voice.begin(CallbackSink(lambda pcm: ours.append(pcm[:, 0].copy()), 48000, delay="none"))
    own = Peer(OutgoingTrack(tone(), OpusSettings(frame_ms=own_frame_ms)), voice, PeerEvents(), loopback=True)
    stock = RTCPeerConnection(RTCConfiguration(iceServers=[], bundlePolicy=RTCBundlePolicy.MAX_BUNDLE))
    receiver = stock.addTrack(StockTone(rate_hz, layout, frame_ms))
    stock.createDataChannel("oai-events")

    async def listen() -> None:
        track = stock.getTransceivers()[0].receiver.track
        try:
            while True:
                frame: Any = await track.recv()
                theirs.append(frame.to_ndarray().reshape(-1, 2)[:, 0] / 32768)
        except MediaStreamError:
            pass

    try:
        await stock.setLocalDescription(await stock.createOffer())
        answer = await own.answer(stock.localDescription.sdp)
        await stock.setRemoteDescription(RTCSessionDescription(answer, "answer"))
        await own.opened()
        listener = asyncio.create_task(listen())
        await eventually(lambda: min(sum(map(len, ours)), sum(map(len, theirs))) > 48000, timeout=10)
        assert own.remote is not None
        assert own.remote.opus == OpusFormat(useinbandfec=False, minptime=None)
    finally:
        await asyncio.gather(stock.close(), own.close())
        await voice.end(None)
    await listener
    assert receiver.kind == "audio"
    for pieces in (ours, theirs):
        pcm = np.concatenate(pieces)
        begins = int(np.flatnonzero(np.abs(pcm) > 0.05)[0]) + 4800
        heard = pcm[begins : begins + 24000]
        assert roughness(heard) < 0.004
        assert 0.1 < float(np.sqrt(np.mean(heard**2))) < 0.25
    assert (voice.stats.lost, voice.stats.malformed) == (0, 0)


def test_defaults_are_stated_as_they_are() -> None:
    assert OpusSettings().format() == OURS
    assert WebRTCTransport(opus=OpusSettings(dtx=True))._opus.format().usedtx
