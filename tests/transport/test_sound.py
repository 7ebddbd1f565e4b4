"""What the peer hears: mute, exchanged and faulty sources; what is played: sinks, interruption, taps."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from rtc_audio.ports import Pcm, Pull
from rtc_transport import (
    CallbackSink,
    ConnectError,
    FileSink,
    PushSource,
    RealtimeServer,
    ToneSource,
    WebRTCTransport,
)
from rtc_transport.server import Call, Faults
from rtc_transport.tracks import OpusSettings
from support.transports import call_of, connected, eventually, level_dbfs
from support.voice_link import voice

RATE_HZ = 24000  # of what the server keeps
FRAME_SAMPLES = RATE_HZ // 50


async def hears(call: Call, *, loud: bool) -> None:
    """Waits until the last 40 ms that the server heard are loud, or silent."""
    await eventually(
        lambda: len(call.heard()) > RATE_HZ // 10 and (level_dbfs(last(call, 0.04)) > -60) == loud
    )


def last(call: Call, seconds: float) -> NDArray[np.float32]:
    return call.heard()[-round(seconds * RATE_HZ) :]


async def lead_samples(transport: WebRTCTransport, call: Call) -> int:
    """How many of the samples that were sent the server does not keep, of a link without loss."""
    leads = []
    for _ in range(20):  # the least: at some of these moments no packet is on its way
        leads.append(transport.stats().packets_sent * FRAME_SAMPLES - len(call.heard()))
        await asyncio.sleep(0.005)
    return min(leads)


async def test_mute_is_silence_within_forty_milliseconds_at_the_same_packet_rate(
    realtime_server: RealtimeServer,
) -> None:
    async with connected(realtime_server, source=ToneSource(level_dbfs=-10)) as transport:
        call = call_of(realtime_server, transport)
        await hears(call, loud=True)
        lead = await lead_samples(transport, call)
        sent = transport.stats().packets_sent
        assert transport.muted is False
        transport.mute(True)
        assert transport.muted is True
        await asyncio.sleep(0.6)
        next_packet = sent * FRAME_SAMPLES - lead
        assert level_dbfs(call.heard()[next_packet - FRAME_SAMPLES : next_packet]) > -30
        assert level_dbfs(call.heard()[next_packet + round(0.04 * RATE_HZ) :]) < -60
        assert transport.stats().packets_sent - sent in range(25, 35)
        transport.mute(False)
        await hears(call, loud=True)


async def test_mute_holds_before_connect_and_across_calls(realtime_server: RealtimeServer) -> None:
    transport = WebRTCTransport(ToneSource(), base_url=realtime_server.url)
    transport.mute(True)
    for _ in range(2):
        await transport.connect(api_key="test-key")
        call = call_of(realtime_server, transport)
        await asyncio.sleep(0.4)
        assert len(call.heard()) > 0.2 * RATE_HZ
        assert level_dbfs(call.heard()) < -60
        await transport.close()
    assert transport.muted is True


async def test_unmuting_never_sends_what_was_queued_while_muted(realtime_server: RealtimeServer) -> None:
    source = PushSource(RATE_HZ)
    async with connected(realtime_server, source=source) as transport:
        call = call_of(realtime_server, transport)
        transport.mute(True)
        source.push(np.full(RATE_HZ, 0.3, np.float32))
        await asyncio.sleep(0.1)
        source.push(np.full(RATE_HZ, 0.3, np.float32))
        transport.mute(False)
        await asyncio.sleep(0.3)
        assert level_dbfs(call.heard()) < -60


async def test_the_source_is_exchanged_without_a_gap_in_the_packets(realtime_server: RealtimeServer) -> None:
    async with connected(realtime_server, source=ToneSource(440)) as transport:
        call = call_of(realtime_server, transport)
        await hears(call, loud=True)
        await transport.set_source(ToneSource(1000, rate_hz=44100))
        await asyncio.sleep(0.5)
        spectrum = np.abs(np.fft.rfft(last(call, 0.25) * np.hanning(round(0.25 * RATE_HZ))))
        assert spectrum.argmax() * 4 == pytest.approx(1000, abs=4)
        await transport.set_source(None)
        await hears(call, loud=False)
        assert transport.stats().packets_lost == 0


class Moody:
    """A source that changes its format, then raises, then recovers."""

    rate_hz = 24000
    channels = 1
    ended = False
    mood = "fine"

    async def start(self) -> None: ...
    async def aclose(self) -> None: ...

    def read(self, n: int) -> Pcm:
        if self.mood == "raise":
            raise RuntimeError("no sound today")
        if self.mood == "nan":
            return np.full((n, self.channels), np.nan, np.float32)
        square = np.where(np.arange(n) % 40 < 20, 0.3, -0.3).astype(np.float32)
        return np.repeat(square[:, None], self.channels, axis=1)


async def test_a_faulty_source_is_silence_and_one_error_and_the_packets_go_on(
    realtime_server: RealtimeServer,
) -> None:
    source, errors = Moody(), list[str]()
    async with connected(realtime_server, source=source) as transport:
        transport.on("error", lambda event: errors.append(f"{event.source}: {event.message}"))
        call = call_of(realtime_server, transport)
        await hears(call, loud=True)
        source.rate_hz, source.channels = 44100, 2
        await asyncio.sleep(0.2)
        await hears(call, loud=True)
        assert errors == []
        source.mood = "raise"
        await hears(call, loud=False)
        assert errors == ["source: the source failed and is silent: no sound today"]
        source.mood = "fine"
        await hears(call, loud=True)
        source.mood = "nan"
        await hears(call, loud=False)
        sent = transport.stats().packets_sent
        await asyncio.sleep(0.5)
        assert transport.stats().packets_sent - sent in range(20, 32)
        assert transport.status == "connected"


async def test_the_end_of_the_source_is_told_and_the_call_goes_on(realtime_server: RealtimeServer) -> None:
    async with connected(realtime_server, source=ToneSource(seconds=0.2)) as transport:
        await transport.wait_for("source_ended", timeout=5)
        sent = transport.stats().packets_sent
        await asyncio.sleep(0.3)
        assert transport.stats().packets_sent - sent >= 10
        assert transport.status == "connected"


class Heard:
    """What a callback sink was given."""

    def __init__(self) -> None:
        self.blocks: list[Pcm] = []

    def __call__(self, pcm: Pcm) -> None:
        self.blocks.append(pcm)

    @property
    def pcm(self) -> Pcm:
        return np.concatenate(self.blocks) if self.blocks else np.zeros((0, 1), np.float32)

    async def until_loud(self) -> None:
        await eventually(lambda: level_dbfs(self.pcm[-480:]) > -40, timeout=10)


@pytest.mark.parametrize("rate_hz", [24000, 44100, 48000])
@pytest.mark.parametrize("delay", ["adaptive", "none"])
async def test_the_voice_reaches_sinks_of_every_kind(rate_hz: int, delay: str) -> None:
    heard = Heard()
    async with (
        RealtimeServer(reply="tone") as server,
        connected(server, sink=CallbackSink(heard, rate_hz, delay=delay)) as transport,  # type: ignore[arg-type]  # one of the words
    ):
        transport.send_message("Beep!")
        await transport.wait_for("output_audio_buffer.stopped", timeout=15)
        await asyncio.sleep(0.3)
    voice = heard.pcm[:, 0]
    assert heard.blocks[0].shape[1] == 1
    loud = np.abs(voice) > 0.02
    first, final = np.flatnonzero(loud)[[0, -1]]
    assert 0.8 < (final - first) / rate_hz < 1.5
    start = int(loud.argmax()) + rate_hz // 5
    piece = voice[start : start + rate_hz // 2]
    spectrum = np.abs(np.fft.rfft(piece * np.hanning(len(piece))))
    assert spectrum.argmax() * 2 == pytest.approx(440, abs=4)


async def test_interrupt_silences_the_sink_within_sixty_milliseconds_and_without_a_click() -> None:
    heard, interrupted = Heard(), list[object]()
    async with (
        RealtimeServer(reply="tone") as server,
        connected(server, sink=CallbackSink(heard, 48000, block_ms=10)) as transport,
    ):
        transport.on("audio_interrupted", interrupted.append)
        transport.send_message("Beep!")
        await heard.until_loud()
        await asyncio.sleep(0.2)
        before = len(heard.pcm)
        transport.interrupt()
        await asyncio.sleep(0.5)
        after = heard.pcm[before:, 0]
        last_audible = int(np.flatnonzero(np.abs(after) > 10 ** (-50 / 20)).max(initial=0))
        assert last_audible / 48000 < 0.06
        steps = np.abs(np.diff(heard.pcm[before - 4800 : before + 4800, 0]))
        assert steps.max() < 0.05  # a tone of 440 Hz at this level moves by 0.03 a sample at most
        assert len(interrupted) == 1


async def test_what_is_sent_and_played_is_told_only_while_somebody_listens(
    realtime_server: RealtimeServer,
) -> None:
    sent, played = list[int](), list[int]()

    def on_sent(event) -> None:  # type: ignore[no-untyped-def]  # the payload under test
        sent.append(len(event.pcm))
        assert event.rate_hz == 48000

    async with connected(realtime_server, source=ToneSource()) as transport:
        transport.on("input_audio", on_sent).on("audio", lambda event: played.append(len(event.pcm)))
        await asyncio.sleep(0.3)
        transport.off("input_audio", on_sent)
        assert set(sent) == {960}
        count = len(sent)
        await asyncio.sleep(0.1)
        assert len(sent) == count
        assert sum(played) > 0.1 * 48000


async def test_an_iterator_over_everything_does_not_ask_for_the_sound(
    realtime_server: RealtimeServer,
) -> None:
    async with connected(realtime_server, source=ToneSource()) as transport:
        everything = transport.events()
        sound = transport.events("audio")
        transport.send_message("Hi")
        await transport.wait_for("turn_done", timeout=10)
        await transport.close()
        assert "audio" not in {event.type for event in [event async for event in everything]}
        assert {event.type for event in [event async for event in sound]} == {"audio"}


class BrokenSink:
    """A sink that cannot start, or raises when it is released."""

    rate_hz = 48000

    def __init__(self, *, start: bool) -> None:
        self._start = start

    async def start(self, pull: Pull) -> None:
        if not self._start:
            raise OSError("the loudspeaker is gone")

    async def aclose(self) -> None:
        raise OSError("it will not stop")


async def test_a_sink_that_cannot_start_leaves_the_old_one(realtime_server: RealtimeServer) -> None:
    heard = Heard()
    async with connected(realtime_server, sink=CallbackSink(heard)) as transport:
        with pytest.raises(OSError, match="the loudspeaker is gone"):
            await transport.set_sink(BrokenSink(start=False))
        count = len(heard.blocks)
        await asyncio.sleep(0.2)
        assert len(heard.blocks) > count


async def test_a_sink_that_fails_in_its_release_is_reported(realtime_server: RealtimeServer) -> None:
    errors = list[str]()
    transport = WebRTCTransport(sink=BrokenSink(start=True), base_url=realtime_server.url)
    transport.on("error", lambda event: errors.append(f"{event.source}: {event.message}"))
    await transport.connect(api_key="test-key")
    await transport.close()
    assert errors == ["sink: the sink failed: it will not stop"]
    assert transport.status == "disconnected"


async def test_a_connect_that_fails_leaves_the_file_of_the_last_call_alone(tmp_path: Path) -> None:
    kept = tmp_path / "kept.wav"
    kept.write_bytes(b"what was recorded before")
    async with RealtimeServer(faults=Faults(status=401)) as server:
        transport = WebRTCTransport(sink=FileSink(kept), base_url=server.url)
        with pytest.raises(ConnectError):
            await transport.connect(api_key="test-key")
    assert kept.read_bytes() == b"what was recorded before"


async def test_a_transport_that_never_connected_releases_its_sink(tmp_path: Path) -> None:
    async with WebRTCTransport(sink=FileSink(tmp_path / "never.wav")):
        pass  # a ResourceWarning would fail the test
    assert not (tmp_path / "never.wav").exists()


class RingSink(CallbackSink):
    """A sink that holds sound of its own, as a device does."""

    flushed = 0

    def flush(self) -> None:
        self.flushed += 1


async def test_an_interruption_empties_what_the_sink_holds() -> None:
    sink = RingSink(lambda pcm: None)
    async with RealtimeServer(reply="tone") as server, connected(server, sink=sink) as transport:
        transport.send_message("Beep!")
        await transport.wait_for("output_audio_buffer.started", timeout=5)
        transport.interrupt()
        assert sink.flushed == 1


async def test_what_is_counted_and_played_survives_another_sink() -> None:
    """Statistics are those of the call, positions those of the response, whoever plays."""
    first, second = Heard(), Heard()
    async with (
        RealtimeServer(reply="tone") as server,
        connected(server, sink=CallbackSink(first, delay="none")) as transport,
    ):
        voice = transport._media.voice
        transport.send_message("Beep!")
        await eventually(lambda: voice.playback().played_ms > 300, timeout=10)
        received = transport.stats().playout.received
        await transport.set_sink(CallbackSink(second))
        assert voice.playback().played_ms >= 300
        await eventually(lambda: voice.playback().played_ms > 500, timeout=10)
        assert transport.stats().playout.received > received
        assert voice.playback().played_ms <= voice.playback().received_ms + 20
        await transport.close()
        await transport.connect(api_key="test-key")
        assert transport.stats().playout.received < received


async def test_what_a_source_does_is_counted_for_each_call(realtime_server: RealtimeServer) -> None:
    source = Moody()
    transport = WebRTCTransport(source, base_url=realtime_server.url)
    async with transport:
        for mood in ("nan", "raise", "fine"):
            source.mood = mood
            await transport.connect(api_key="test-key")
            await eventually(lambda: transport.stats().packets_sent > 20)
            stats = transport.stats()
            assert (stats.nonfinite_samples > 0) == (mood == "nan")
            assert (stats.source_errors > 0) == (mood != "fine")
            await transport.close()


async def test_silence_that_is_not_sent_costs_no_word() -> None:
    """With DTX on both sides: every word arrives, nothing counts as lost, few packets are sent."""
    settings, heard, source = OpusSettings(dtx=True), Heard(), PushSource(RATE_HZ)
    words = voice(2.5)[RATE_HZ::2].copy()
    async with (
        RealtimeServer(reply="parrot", opus=settings) as server,
        connected(
            server, source=source, sink=CallbackSink(heard, RATE_HZ, delay="none"), opus=settings
        ) as transport,
    ):
        call = call_of(server, transport)
        source.push(words)
        await transport.wait_for("output_audio_buffer.stopped", timeout=15)
        await asyncio.sleep(0.5)
        stats = transport.stats()
        assert stats.packets_sent + stats.skipped_frames < 0.7 * 50 * (len(call.heard()) / RATE_HZ)
        assert (stats.packets_lost, stats.playout.lost) == (0, 0)
        assert stats.playout.silence_ms > 500
        for there in (call.heard(), heard.pcm[:, 0]):
            assert np.sum(there**2) == pytest.approx(np.sum(words**2), rel=0.4)


async def test_a_busy_default_executor_costs_no_frame(realtime_server: RealtimeServer) -> None:
    """Name resolution of the application, its own blocking calls: all workers are taken, and the call goes on."""
    loop, busy = asyncio.get_running_loop(), threading.Event()
    loop.set_default_executor(ThreadPoolExecutor(1))
    heard = Heard()
    async with connected(realtime_server, source=ToneSource(), sink=CallbackSink(heard)) as transport:
        jobs = [loop.run_in_executor(None, busy.wait) for _ in range(3)]
        try:
            call = call_of(realtime_server, transport)
            sent, blocks = transport.stats().packets_sent, len(heard.blocks)
            await eventually(lambda: transport.stats().packets_sent > sent + 30)
            await eventually(lambda: len(heard.blocks) > blocks + 30)
            await hears(call, loud=True)
            assert not any(job.done() for job in jobs)
        finally:
            busy.set()
            await asyncio.gather(*jobs)
