"""What a transport records of its calls: both sides in their places, and nothing that harms the call."""

import asyncio
import wave
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from rtc_audio import AudioFileError, FileSource
from rtc_audio.ports import Pcm
from rtc_transport import CallbackSink, PushSource, RealtimeServer, WebRTCTransport
from support.opus_files import write_opus
from support.transports import connected, eventually

RATE_HZ = 24000


def recorded(path: Path) -> NDArray[np.float32]:
    """`[frame, (user, model)]`."""
    with wave.open(str(path)) as file:
        assert (file.getnchannels(), file.getframerate(), file.getsampwidth()) == (2, RATE_HZ, 2)
        raw = np.frombuffer(file.readframes(file.getnframes()), "<i2").reshape(-1, 2)
    return (raw / 32768).astype(np.float32)


def onset_seconds(pcm: NDArray[np.float32]) -> float:
    loud = np.flatnonzero(np.abs(pcm) > 0.05)
    assert len(loud)
    return float(loud[0]) / RATE_HZ


def beep(hz: float, seconds: float = 0.5) -> NDArray[np.float32]:
    pcm: NDArray[np.float32] = (
        0.3 * np.sin(2 * np.pi * hz * np.arange(round(seconds * RATE_HZ)) / RATE_HZ)
    ).astype(np.float32)
    return pcm


@pytest.mark.parametrize("sink_rate_hz", [24000, 48000])
async def test_both_sides_stand_at_their_times(tmp_path: Path, sink_rate_hz: int) -> None:
    """The user's tone and the model's tone are as far apart in the file as they were in the call."""
    loop, heard_at, said_at, source = (
        asyncio.get_running_loop(),
        list[float](),
        list[float](),
        PushSource(RATE_HZ),
    )

    def hear(pcm: Pcm) -> None:
        loud = np.flatnonzero(np.abs(pcm[:, 0]) > 0.05)
        if len(loud):
            heard_at.append(loop.time() + float(loud[0]) / sink_rate_hz)

    path = tmp_path / "call.wav"
    async with RealtimeServer(reply="tone") as server:
        session = {"audio": {"input": {"turn_detection": None}}}
        sink = CallbackSink(hear, sink_rate_hz)
        async with connected(server, session=session, source=source, sink=sink, record=path) as transport:
            transport.on(
                "input_audio",
                lambda event: said_at.append(loop.time()) if np.abs(event.pcm).max() > 0.05 else None,
            )
            source.push(beep(1000))
            await eventually(lambda: bool(said_at))
            await asyncio.sleep(0.25)
            transport.send_message("Beep!")
            await eventually(lambda: bool(heard_at), timeout=10)
            await asyncio.sleep(0.3)
    user, model = recorded(path).T
    apart = heard_at[0] - said_at[0]
    assert onset_seconds(model) - onset_seconds(user) == pytest.approx(apart, abs=0.020)
    for channel, hz in ((user, 1000), (model, 440)):
        start = round(onset_seconds(channel) * RATE_HZ) + 1200
        piece = channel[start : start + 4800]
        assert np.abs(np.fft.rfft(piece * np.hanning(4800))).argmax() * 5 == pytest.approx(hz, abs=10)


async def test_what_is_muted_is_not_recorded_and_calls_follow_each_other(
    tmp_path: Path, realtime_server: RealtimeServer
) -> None:
    path, source = tmp_path / "call.wav", PushSource(RATE_HZ)
    transport = WebRTCTransport(source, base_url=realtime_server.url, record=path)
    for muted in (True, False):
        transport.mute(muted)
        await transport.connect(api_key="test-key")
        source.push(beep(500))
        await asyncio.sleep(0.4)
        await transport.close()
        length = len(recorded(path))
        if muted:
            assert not recorded(path)[:, 0].any()
            first = length
    assert length > first > 0.3 * RATE_HZ
    assert onset_seconds(recorded(path)[first:, 0]) < 0.5


async def test_a_recorded_file_is_decoded(tmp_path: Path, realtime_server: RealtimeServer) -> None:
    """Its packets cannot pass: the recorder needs the samples."""
    tone = np.repeat(beep(500, 1.0), 2)  # at twice the rate: 250 Hz
    source, path = FileSource(write_opus(tmp_path / "a.ogg", tone)), tmp_path / "call.wav"
    async with connected(realtime_server, source=source, record=path) as transport:
        await eventually(lambda: transport.stats().packets_sent > 40)
        assert transport.stats().packets_passed == 0
    assert np.abs(recorded(path)[:, 0]).max() > 0.2


async def test_a_disk_that_fails_is_one_error_and_the_call_goes_on(
    tmp_path: Path, realtime_server: RealtimeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: object, data: object) -> None:
        raise OSError(28, "No space left on device")

    errors, path = list[str](), tmp_path / "call.wav"
    transport = WebRTCTransport(base_url=realtime_server.url, record=path)
    transport.on("error", lambda event: errors.append(f"{event.source}: {event.message}"))
    async with transport:
        await transport.connect(api_key="test-key")
        monkeypatch.setattr("rtc_audio.wav.WavWriter._write_all", full)
        await eventually(lambda: bool(errors), timeout=10)
        assert transport.status == "connected"
    assert errors == [f"sink: the recording failed: cannot write {path}: no space left on device"]


def test_an_unwritable_path_is_known_at_once(tmp_path: Path) -> None:
    with pytest.raises(AudioFileError, match=r"^cannot write .*call\.wav: its folder does not exist$"):
        WebRTCTransport(record=tmp_path / "missing" / "call.wav")


async def test_a_transport_that_never_connects_leaves_no_file(tmp_path: Path) -> None:
    transport = WebRTCTransport(record=tmp_path / "call.wav")
    await transport.close()
    assert not (tmp_path / "call.wav").exists()
