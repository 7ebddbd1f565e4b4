"""Opus files that leave undecoded: when, what the peer hears where that begins and ends, and what it tells."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from rtc_audio import FileSource, PushSource, ToneSource, UnsupportedFormat, Uplink
from rtc_audio.opus import OpusEncoder
from rtc_audio.ports import AudioSource, PacketFormat, Pcm
from rtc_transport import RealtimeServer, WebRTCTransport
from rtc_transport.sdp import OpusFormat
from rtc_transport.tracks import OpusSettings, OutgoingTrack
from support.opus_files import FRAME, RATE_HZ, Mono, all_packets, decode, write_opus
from support.transports import call_of, connected, eventually, level_dbfs
from support.voice_link import voice

LOOKAHEAD = 312
SECONDS = 3.0


def speech() -> Mono:
    return voice(0.5 + SECONDS)[RATE_HZ // 2 :]


def tone(hz: float = 440.0, level: float = 0.5) -> Mono:
    pcm: Mono = (level * np.sin(2 * np.pi * hz / RATE_HZ * np.arange(round(SECONDS * RATE_HZ)))).astype(
        np.float32
    )
    return pcm


class Unpaced:
    """The time of a call without waiting for it."""

    def __init__(self, period_seconds: float, *, grid_seconds: float) -> None: ...

    def next(self, now: float) -> tuple[float, int]:
        return 0.0, 0


@pytest.fixture(autouse=True)
def unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files are read to their end at the start, because no time passes for the worker threads."""
    monkeypatch.setattr("rtc_audio.files._START_SECONDS", 60.0)


class Line:
    """An uplink, a track on it and what the peer gets, packet by packet."""

    def __init__(self, source: AudioSource | None, settings: OpusSettings | None = None) -> None:
        self.errors: list[Exception] = []
        self.ended: list[AudioSource] = []
        self.settings = settings or OpusSettings()
        self.uplink = Uplink(self.settings.rate_hz, on_error=self.errors.append, on_ended=self.ended.append)
        self.uplink.set_source(source)
        self.track = OutgoingTrack(
            self.uplink.read, self.settings, packets=self.uplink, on_error=self.errors.append
        )
        self.payloads: list[bytes] = []
        self.passed: list[bool] = []

    async def send(self, packets: int) -> None:
        for _ in range(packets):
            before = self.track.packets_passed
            self.payloads.append(bytes(await self.track.recv()))
            self.passed.append(self.track.packets_passed > before)

    @property
    def heard(self) -> Mono:
        return decode(self.payloads)


@pytest.fixture
def line(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Awaitable[Line]]:
    monkeypatch.setattr("rtc_transport.tracks.Pacer", Unpaced)

    async def make(source: FileSource | None, settings: OpusSettings | None = None) -> Line:
        if source is not None:
            await source.start()
        return Line(source, settings)

    return make


def bends(pcm: Mono) -> NDArray[np.float64]:
    """Second differences: what a click has and sound does not."""
    second: NDArray[np.float64] = np.abs(np.diff(pcm.astype(np.float64), 2))
    return second


async def test_untouched_the_file_leaves_as_it_is_to_its_last_frame(tmp_path: Path, line: Any) -> None:
    source = FileSource(write_opus(tmp_path / "a.ogg", speech()))
    assert source.packet_format is not None
    assert (source.packet_format.packet_ms, source.packet_format.channels) == (20, 1)
    assert source.packet_format.bitrate_bps == pytest.approx(
        8 * (tmp_path / "a.ogg").stat().st_size / SECONDS, rel=0.01
    )
    sent = await line(source)
    await sent.send(160)
    count = sum(sent.passed)
    assert sent.passed == [True] * count + [False] * (160 - count)
    assert count >= SECONDS * 50 - 1
    assert sent.ended == [source]
    assert source.ended
    assert source.position_seconds == SECONDS
    whole = decode(sent.payloads)[LOOKAHEAD:]
    rms = np.sqrt(np.square(whole[: len(speech())] - speech()).mean() / np.square(speech()).mean())
    assert rms < 0.6, "in its place, as far as a codec at 32 kb/s keeps the wave"
    assert level_dbfs(whole[len(speech()) + 2 * FRAME :]) < -60
    await source.aclose()


KINDS: dict[str, dict[str, Any]] = {
    "voip": {},
    "music": {"application": "audio", "bitrate_bps": 64000},
    "thin": {"bitrate_bps": 16000},
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("sound", ["speech", "tone"])
async def test_no_click_where_packets_end_and_begin(tmp_path: Path, line: Any, sound: str, kind: str) -> None:
    """A tap comes and goes: what the peer hears bends as the sound itself does, and stays in its place."""
    pcm = speech() if sound == "speech" else tone()
    source = FileSource(write_opus(tmp_path / "a.ogg", pcm, **KINDS[kind]))
    sent = await line(source)
    reference = FileSource(source.path)
    untouched = await line(reference)
    await untouched.send(120)

    def tap(block: Pcm) -> None: ...

    joints = []
    for _ in range(6):
        await sent.send(9)
        sent.uplink.add_tap(tap)
        joints.append(len(sent.payloads))
        await sent.send(8)
        sent.uplink.remove_tap(tap)
        joints.append(len(sent.payloads))
    await sent.send(10)
    assert [sent.passed[at - 1 : at + 1] for at in joints] == [[True, False], [False, True]] * 6
    heard, expected = sent.heard, untouched.heard
    for at in joints:
        here = slice(at * FRAME - 120, (at + 1) * FRAME + 120)
        around = slice((at - 3) * FRAME, (at + 4) * FRAME)
        assert bends(heard[here]).max() < 2 * bends(expected[around]).max() + 0.004
        assert np.abs(heard[here]).max() < 1.5 * np.abs(expected[around]).max() + 0.004, (
            "no prediction goes astray"
        )
    near = len(heard) - 3 * FRAME
    shift = max(range(-96, 97, 8), key=lambda by: float(heard[FRAME:near] @ expected[FRAME + by : near + by]))
    assert abs(shift) <= 8, "no drift: 0.2 ms after twelve joints"
    await asyncio.gather(source.aclose(), reference.aclose())


@pytest.mark.parametrize("rate_hz", [24000, 48000])
async def test_mute_exchange_hold_and_gain_in_the_middle_of_packets_do_not_click(
    tmp_path: Path, line: Any, rate_hz: int
) -> None:
    def source_of(hz: float) -> FileSource:
        return FileSource(write_opus(tmp_path / f"{hz:g}.ogg", tone(hz)))

    source, other = source_of(440), source_of(300)
    await other.start()
    sent = await line(source, OpusSettings(rate_hz=rate_hz))
    await sent.send(10)
    sent.uplink.muted = True
    await sent.send(5)
    assert level_dbfs(sent.heard[12 * FRAME :]) < -55
    sent.uplink.muted = False
    await sent.send(10)
    assert sent.passed[:10] == [True] * 10
    assert not any(sent.passed[10:16])
    assert source.position_seconds == pytest.approx(25 * 0.02, abs=0.002), "muted sound is over, not waiting"
    sent.uplink.gain = 0.5
    await sent.send(5)
    sent.uplink.gain = 1.0
    await sent.send(5)
    sent.uplink.set_source(other)
    await sent.send(10)
    sent.uplink.held = True
    await sent.send(5)
    assert level_dbfs(sent.heard[-2 * FRAME :]) < -55
    sent.uplink.held = False
    await sent.send(5)
    sent.uplink.set_source(None)
    await sent.send(5)
    heard = sent.heard
    assert bends(heard[2 * FRAME :]).max() < 0.03, "a step of this tone's height is 0.5"
    assert level_dbfs(heard[-2 * FRAME :]) < -55
    assert not sent.errors
    await asyncio.gather(source.aclose(), other.aclose())


async def test_a_loop_passes_where_its_end_and_beginning_are_quiet(
    tmp_path: Path, line: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    pause = np.zeros(3 * FRAME, np.float32)
    pcm = np.concatenate([pause, tone()[: 10 * FRAME + 100], pause])
    source = FileSource(write_opus(tmp_path / "a.ogg", pcm), loop=True)
    monkeypatch.setattr("rtc_audio.files._START_SECONDS", 1.0)
    sent = await line(source)
    while len(sent.payloads) < 200:
        if source._fifo.frames < RATE_HZ // 2:
            await asyncio.sleep(0.001)
        else:
            await sent.send(1)
    assert sum(sent.passed) > 150
    assert not source.ended
    once = decode(all_packets(source.path))
    assert bends(sent.heard).max() < 1.3 * bends(once).max()
    await source.aclose()


async def test_who_begins_behind_another_source_waits_until_that_has_faded(tmp_path: Path, line: Any) -> None:
    sent = await line(None)
    sent.uplink.set_source(ToneSource(300, -6))
    await sent.send(10)
    source = FileSource(write_opus(tmp_path / "a.ogg", tone()))
    await source.start()
    sent.uplink.set_source(source)
    await sent.send(30)
    assert not any(sent.passed[:11])
    assert all(sent.passed[11:])
    assert bends(sent.heard[2 * FRAME :]).max() < 0.03
    await source.aclose()


@pytest.mark.parametrize(
    ("options", "peer", "passes"),
    [
        ({}, OpusFormat(), True),
        ({"channels": 2}, OpusFormat(stereo=True), True),
        ({"channels": 2}, OpusFormat(stereo=False), False),
        ({"bitrate_bps": 64000, "vbr": "off"}, OpusFormat(maxaveragebitrate=60000), True),
        ({"bitrate_bps": 64000, "vbr": "off"}, OpusFormat(maxaveragebitrate=40000), False),
        ({"frame_duration": 10}, OpusFormat(), False),
        ({"frame_duration": 40}, OpusFormat(), False),
        ({"frame_duration": 60}, OpusFormat(), False),
    ],
)
async def test_only_what_the_peer_takes_passes(
    tmp_path: Path, line: Any, options: dict[str, Any], peer: OpusFormat, passes: bool
) -> None:
    source = FileSource(write_opus(tmp_path / "a.ogg", speech(), **options))
    sent = await line(source)
    sent.track.configure(sent.settings.bounded_by(peer), peer)
    await sent.send(10)
    assert sent.passed == [passes] * 10
    await source.aclose()


async def test_a_track_of_other_frames_encodes(tmp_path: Path, line: Any) -> None:
    source = FileSource(write_opus(tmp_path / "a.ogg", speech()))
    sent = await line(source, OpusSettings(frame_ms=10))
    await sent.send(10)
    assert not any(sent.passed)
    await source.aclose()


class Packets(PushSource):
    """A user's own source of packets."""

    packet_format = PacketFormat()

    def __init__(self, packets: list[Any]) -> None:
        super().__init__(RATE_HZ)
        self.packets = packets

    def read_packet(self) -> bytes | None:
        packet = self.packets.pop(0) if self.packets else None
        if isinstance(packet, Exception):
            raise packet
        return packet

    def rewind(self, packets: int, /) -> int:
        return 0


@pytest.mark.parametrize(
    ("packet", "kind", "text"),
    [
        (RuntimeError("no packet today"), RuntimeError, "no packet today"),
        (
            OpusEncoder(frame_ms=10).encode(np.zeros(480, np.float32)),
            UnsupportedFormat,
            "Packets.read_packet returned 25 bytes that are not 20 ms of Opus",
        ),
        (b"", Exception, "an empty payload is no Opus packet"),
    ],
)
async def test_a_faulty_packet_is_sound_instead_and_one_report(
    line: Any, packet: Any, kind: type[Exception], text: str
) -> None:
    sent = await line(None)
    sent.uplink.set_source(Packets([packet, packet]))
    await sent.send(3)
    assert not any(sent.passed)
    assert [str(error) for error in sent.errors] == [text]
    assert isinstance(sent.errors[0], kind)
    assert sent.uplink.source_errors == 1, "it is not asked for packets again"


# --------------------------------------------------------------------------- in a call


async def test_a_call_passes_packets_until_somebody_listens_or_mutes(
    tmp_path: Path, realtime_server: RealtimeServer
) -> None:
    source = FileSource(write_opus(tmp_path / "a.ogg", np.tile(tone(), 3)))
    async with connected(realtime_server, source=source) as transport:
        call = call_of(realtime_server, transport)

        def passed() -> int:
            return transport.stats().packets_passed

        await eventually(lambda: passed() > 10)
        await eventually(lambda: len(call.heard()) > 2400 and level_dbfs(call.heard()[-960:]) > -15)
        heard = list[int]()

        def listen(event: Any) -> None:
            heard.append(len(event.pcm))

        transport.on("input_audio", listen)
        await eventually(lambda: len(heard) > 5)
        count = passed()
        await eventually(lambda: len(heard) > 10)
        assert passed() == count
        transport.off("input_audio", listen)
        await eventually(lambda: passed() > count + 5)
        transport.mute(True)
        await eventually(lambda: level_dbfs(call.heard()[-960:]) < -60)
        transport.mute(False)
        count = passed()
        await eventually(lambda: passed() > count + 5)
        clicks = np.flatnonzero(np.abs(np.diff(call.heard()[2400:], 2)) > 0.03)  # the tone itself: 0.0067
        at_once = np.count_nonzero(np.diff(clicks, prepend=-RATE_HZ) > 480)
        assert at_once <= 2 * transport.stats().skipped_frames, "none but where the machine was too slow"


async def test_the_latency_of_responses_is_known_from_packets(tmp_path: Path) -> None:
    pause = np.zeros(RATE_HZ // 2, np.float32)
    words = FileSource(
        write_opus(tmp_path / "a.ogg", np.concatenate([pause, voice(2.5)[RATE_HZ // 2 :], pause]))
    )
    async with RealtimeServer(reply="tone") as server, connected(server, source=words) as transport:
        await transport.wait_for("output_audio_buffer.started", timeout=15)
        await eventually(lambda: transport.stats().response_latency_ms is not None)
        assert transport.stats().packets_passed > 50
        latency_ms = transport.stats().response_latency_ms
        assert latency_ms is not None
        assert 100 < latency_ms < 2000


def test_a_transport_is_made_without_a_loop(tmp_path: Path) -> None:
    source = FileSource(write_opus(tmp_path / "a.ogg", speech()))
    assert WebRTCTransport(source).status == "disconnected"
