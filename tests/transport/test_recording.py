"""What a transport records of its calls: both sides in their places, and nothing that harms the call."""

import asyncio
import time
import wave
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from rtc_audio import AudioFileError, FileSource
from rtc_audio.pacer import CATCH_UP_SECONDS
from rtc_audio.ports import Pcm
from rtc_audio.sinks import Delay
from rtc_transport import CallbackSink, PushSource, RealtimeServer, ToneSource, WebRTCTransport
from rtc_transport.server.script import Script
from support.opus_files import write_opus
from support.transports import connected, eventually

RATE_HZ = 24000


def recorded(path: Path) -> NDArray[np.float32]:
    """`[frame, (user, model)]`."""
    with wave.open(str(path)) as file:
        assert (file.getnchannels(), file.getframerate(), file.getsampwidth()) == (2, RATE_HZ, 2)
        raw = np.frombuffer(file.readframes(file.getnframes()), "<i2").reshape(-1, 2)
    return (raw / 32768).astype(np.float32)


def write_wav(path: Path, pcm: NDArray[np.float32]) -> None:
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, RATE_HZ, 0, "NONE", ""))
        file.writeframes((pcm * 32767).astype("<i2").tobytes())


def onset_seconds(pcm: NDArray[np.float32]) -> float:
    loud = np.flatnonzero(np.abs(pcm) > 0.05)
    assert len(loud)
    return float(loud[0]) / RATE_HZ


def beep(hz: float, seconds: float = 0.5) -> NDArray[np.float32]:
    pcm: NDArray[np.float32] = (
        0.3 * np.sin(2 * np.pi * hz * np.arange(round(seconds * RATE_HZ)) / RATE_HZ)
    ).astype(np.float32)
    return pcm


def bursts(seconds: float, every_seconds: float = 0.5) -> NDArray[np.float32]:
    """20 ms of 1 kHz, again and again."""
    at = np.arange(round(seconds * RATE_HZ)) / RATE_HZ % every_seconds
    pcm: NDArray[np.float32] = (0.5 * np.sin(2 * np.pi * 1000 * at) * (at < 0.02)).astype(np.float32)
    return pcm


def onsets_seconds(pcm: NDArray[np.float32]) -> NDArray[np.float64]:
    loud = np.flatnonzero(np.abs(pcm) > 0.15)
    begins: NDArray[np.float64] = loud[np.diff(loud, prepend=-RATE_HZ) > 0.1 * RATE_HZ] / RATE_HZ
    return begins


class PacedClock:
    """When the samples of a paced stream are due: a block can come late, none early; behind a stall it begins anew."""

    def __init__(self) -> None:
        self.began = 0.0
        self._pieces: list[tuple[float, float]] = []  # position where it begins, time of position zero
        self._position = self._heard = 0.0

    def note(self, samples: int) -> None:
        now = asyncio.get_running_loop().time()
        self.began = self.began or now
        if not self._pieces or now - self._heard > CATCH_UP_SECONDS:
            self._pieces.append((self._position, now - self._position))
        start, zero = self._pieces[-1]
        self._pieces[-1] = start, min(zero, now - self._position)
        self._heard, self._position = now, self._position + samples / RATE_HZ

    def at(self, positions: NDArray[np.float64]) -> NDArray[np.float64]:
        """The times of those that are not amid a stall and what is caught up behind it."""
        starts, zeros = np.array(self._pieces).T
        settled = [at for at in positions if not ((at > starts - 0.05) & (at < starts + 0.25)).any()]
        times: NDArray[np.float64] = settled + zeros[np.searchsorted(starts, settled, "right") - 1]
        return times


class Words:
    """A source of bursts that notes when it is read."""

    rate_hz, channels, ended = RATE_HZ, 1, False

    def __init__(self) -> None:
        self.clock, self.pcm, self._at = PacedClock(), bursts(8.0), 0

    async def start(self) -> None: ...
    async def aclose(self) -> None: ...

    def read(self, n: int) -> Pcm:
        self.clock.note(n)
        self._at += n
        return self.pcm[self._at - n : self._at, None]

    @property
    def said_at(self) -> NDArray[np.float64]:
        said = onsets_seconds(self.pcm[: self._at])
        return self.clock.at(said)


class Ear:
    """A callback of a sink that notes when it is called."""

    def __init__(self) -> None:
        self.clock, self._heard = PacedClock(), list[Pcm]()

    def __call__(self, pcm: Pcm) -> None:
        self.clock.note(len(pcm))
        self._heard.append(pcm)

    @property
    def played_at(self) -> NDArray[np.float64]:
        return self.clock.at(onsets_seconds(np.concatenate(self._heard)[:, 0]))


def off_seconds(recorded_at: NDArray[np.float64], true_at: NDArray[np.float64]) -> list[float]:
    """How far each true onset is from where the file has it."""
    return [float(recorded_at[np.abs(recorded_at - at).argmin()] - at) for at in true_at]


@pytest.mark.parametrize(
    ("what", "delay"),
    [
        ("nothing", "adaptive"),
        ("nothing", "none"),
        ("stall", "adaptive"),
        ("stall", "none"),
        ("mute", "adaptive"),
        ("another source", "adaptive"),
        ("another sink", "adaptive"),
    ],
)
async def test_both_sides_stand_at_their_times(tmp_path: Path, what: str, delay: Delay) -> None:
    """Whatever happens in the call, user and model are as far apart in the file as they were: within 20 ms."""
    path, words, ears, muted_at = tmp_path / "call.wav", [Words()], [Ear()], list[float]()
    write_wav(tmp_path / "bursts.wav", bursts(4.0))
    script = Script.parse({"turns": [{"text": "tick", "audio": str(tmp_path / "bursts.wav")}]})

    session = {"audio": {"input": {"turn_detection": None}}}
    options = {"source": words[0], "sink": CallbackSink(ears[0], RATE_HZ, delay=delay), "record": path}
    async with (
        RealtimeServer(reply=script) as server,
        connected(server, session=session, **options) as transport,
    ):
        transport.send_message("Tick!")
        await asyncio.sleep(1.1)
        match what:
            case "stall":
                time.sleep(0.4)  # noqa: ASYNC251 - the loop has to stand still
            case "mute":
                transport.mute(True)
                muted_at.append(asyncio.get_running_loop().time())
                await asyncio.sleep(0.6)
                muted_at.append(asyncio.get_running_loop().time())
                transport.mute(False)
            case "another source":
                words.append(Words())
                await transport.set_source(words[1])
            case "another sink":
                ears.append(Ear())
                await transport.set_sink(CallbackSink(ears[1], RATE_HZ, delay=delay))
        await asyncio.sleep(2.4)
    user, model = (onsets_seconds(channel) for channel in recorded(path).T)
    zero = min(words[0].clock.began, ears[0].clock.began)
    said_at = np.concatenate([source.said_at for source in words]) - zero
    played_at = np.concatenate([ear.played_at for ear in ears]) - zero
    if what == "mute":
        said_at = said_at[(said_at < muted_at[0] - zero - 0.05) | (said_at > muted_at[1] - zero + 0.05)]
    end = len(recorded(path)) / RATE_HZ - 0.1
    off = off_seconds(user, said_at[said_at < end]) + off_seconds(model, played_at[played_at < end])
    assert min(len(said_at), len(played_at)) >= 3
    assert max(off) - min(off) < 0.020


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


class Recorded:
    """A recorder that keeps what it is given."""

    def __init__(self) -> None:
        self.user, self.model = list[tuple[Pcm, float]](), list[tuple[Pcm, float]]()

    async def start(self) -> None: ...
    async def aclose(self) -> None: ...

    def write_user(self, pcm: Pcm, rate_hz: int, at_seconds: float) -> None:
        self.user.append((pcm, at_seconds))

    def write_model(self, pcm: Pcm, rate_hz: int, at_seconds: float) -> None:
        self.model.append((pcm, at_seconds))


class LateWords(ToneSource):
    """A microphone whose sound is 70 ms old when it is read."""

    live = True

    @property
    def next_seconds(self) -> float:
        return asyncio.get_running_loop().time() - 0.07

    def clear(self) -> None: ...


async def test_what_the_user_said_stands_where_it_was_recorded(
    realtime_server: RealtimeServer,
) -> None:
    transport = WebRTCTransport(LateWords(rate_hz=48000), base_url=realtime_server.url)
    kept: Any = Recorded()
    transport._media._recorder = kept
    clock = asyncio.get_running_loop().time
    read_at = list[float]()
    transport.on("input_audio", lambda event: read_at.append(clock()))
    async with transport:
        await transport.connect(api_key="test-key")
        await eventually(lambda: len(kept.user) > 10)
        behind = [at - written for at, (_, written) in zip(read_at, kept.user, strict=False)]
        assert min(behind) == pytest.approx(0.07, abs=0.01)


async def test_a_pause_of_a_sender_costs_no_sound_behind_it(tmp_path: Path) -> None:
    """An unbuffered sink gets the silence of the pause with the packet behind it: it is written in its place."""
    session = {"audio": {"input": {"turn_detection": None}}}
    write_wav(tmp_path / "bursts.wav", bursts(1.0))
    turn = {"text": "tick", "audio": str(tmp_path / "bursts.wav")}
    server = RealtimeServer(reply=Script.parse({"turns": [turn, turn]}), pause=True)
    path, ear = tmp_path / "call.wav", Ear()
    options = {"source": Words(), "sink": CallbackSink(ear, RATE_HZ, delay="none"), "record": path}
    async with server, connected(server, session=session, **options) as transport:
        for _ in range(2):
            stopped = transport.wait_for("output_audio_buffer.stopped", timeout=10)
            transport.send_message("Tick!")
            await stopped
            await asyncio.sleep(3.0)
    model = recorded(path)[:, 1]
    assert len(onsets_seconds(model)) == len(onsets_seconds(np.concatenate(ear._heard)[:, 0])) == 4
