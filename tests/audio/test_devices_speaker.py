"""The loudspeaker: plays what is pulled, in time, without clicks, and knows what was heard. Virtual time."""

import asyncio
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from rtc_audio.devices import DeviceEvent, Speaker
from rtc_audio.devices.render import Render
from rtc_audio.devices.types import StreamFormat
from rtc_audio.ports import AudioSink, Pcm
from support.fake_audio import DEVICE_SECONDS, FakeCards, card, run_with_cards

Mono = NDArray[np.float32]


class Voice:
    """A `pull` that counts, and says what was pulled when."""

    def __init__(self, hz: float = 440.0, rate_hz: int = 48000) -> None:
        self.hz, self.rate_hz, self.position = hz, rate_hz, 0
        self.times: list[float] = []
        self.failing = False

    def __call__(self, n: int) -> Pcm:
        if self.failing:
            raise RuntimeError("no voice")
        self.times.append(asyncio.get_running_loop().time())
        at = np.arange(self.position, self.position + n) / self.rate_hz
        self.position += n
        return (0.3 * np.sin(2 * np.pi * self.hz * at)).astype(np.float32)[:, None]


def steepest(hz: float, rate_hz: int = 48000) -> float:
    """Of a sine at 0.3."""
    return float(0.3 * 2 * np.pi * hz / rate_hz)


def test_it_is_a_sink_by_shape_at_a_constant_rate() -> None:
    assert isinstance(Speaker(), AudioSink)
    assert (Speaker().rate_hz, Speaker(rate_hz=24000).rate_hz) == (48000, 24000)


def test_what_is_pulled_is_played_gapless_on_both_channels() -> None:
    async def scenario(cards: FakeCards) -> None:
        cards.accepts = {"Surround": {(48000, 8)}}
        speaker, voice = Speaker(hub=cards.hub), Voice()
        await speaker.start(voice)
        await asyncio.sleep(2.0)
        stream = cards.stream("output")
        played = np.concatenate(stream.played)
        np.testing.assert_array_equal(played[:, 0], played[:, 1])
        assert not played[:, 2:].any(), "a voice does not come from the rear"
        pulled = 0.3 * np.sin(2 * np.pi * 440 * np.arange(len(played)) / 48000)
        np.testing.assert_allclose(played[480:, 0], pulled[480:], atol=1e-5)
        assert speaker.underrun_seconds == 0
        await speaker.aclose()
        pulls = voice.position
        await asyncio.sleep(1)
        assert voice.position == pulls

    run_with_cards(scenario, card(0, "Surround", outputs=8))


def test_it_knows_what_was_heard_and_how_late() -> None:
    async def scenario(cards: FakeCards) -> None:
        speaker, voice = Speaker(hub=cards.hub), Voice()
        await speaker.start(voice)
        await asyncio.sleep(1.003)
        now, stream = asyncio.get_running_loop().time(), cards.stream("output")
        sounded = sum(0.01 for at in stream.played_at if at + 0.01 <= now)
        assert speaker.played_seconds == pytest.approx(sounded, abs=0.0101)
        assert speaker.latency_seconds == pytest.approx(
            voice.position / 48000 - speaker.played_seconds, abs=1e-6
        )
        assert 0.02 <= speaker.latency_seconds <= 0.02 + DEVICE_SECONDS + 0.01
        await speaker.aclose()
        assert speaker.latency_seconds == 0

    run_with_cards(scenario)


@pytest.mark.parametrize("ppm", [-1000, 1000])
def test_it_pulls_at_the_pace_of_the_device(ppm: float) -> None:
    async def scenario(cards: FakeCards) -> None:
        cards.ppm = {"Built-in Speakers": ppm}
        speaker, voice = Speaker(hub=cards.hub), Voice()
        await speaker.start(voice)
        await asyncio.sleep(50.0)
        assert voice.position / 48000 == pytest.approx(50 * (1 + ppm * 1e-6) + 0.02, abs=0.011)
        assert speaker.underrun_seconds == 0
        await speaker.aclose()

    run_with_cards(scenario)


def test_another_rate_of_the_device_keeps_the_pitch_and_the_echo_reference() -> None:
    written: list[tuple[Mono, float]] = []

    async def scenario(cards: FakeCards) -> None:
        cards.accepts = {"Built-in Speakers": {(44100, 2)}}
        speaker, voice = Speaker(hub=cards.hub, on_written=lambda pcm, at: written.append((pcm, at))), Voice()
        await speaker.start(voice)
        await asyncio.sleep(2.0)
        stream = cards.stream("output")
        assert stream.request.format.rate_hz == 44100
        heard = stream.heard()[-44100:]
        spectrum = np.abs(np.fft.rfft(heard * np.hanning(len(heard))))
        assert spectrum.argmax() == 440
        assert heard.max() == pytest.approx(0.3, abs=0.003)
        await speaker.aclose()

    run_with_cards(scenario)
    pcm = np.concatenate([block for block, _ in written])
    assert len(pcm) == pytest.approx(2 * 48000, rel=0.01)
    assert np.abs(np.fft.rfft(pcm[-48000:] * np.hanning(48000))).argmax() == 440


def test_on_written_tells_what_was_played_and_when() -> None:
    written: list[tuple[Mono, float]] = []

    async def scenario(cards: FakeCards) -> None:
        speaker, voice = Speaker(hub=cards.hub), Voice()
        speaker.on_written = lambda pcm, at: written.append((pcm, at))
        await speaker.start(voice)
        await asyncio.sleep(1.0)
        stream = cards.stream("output")
        np.testing.assert_array_equal(
            np.concatenate([pcm for pcm, _ in written]), stream.heard()[: 480 * len(written)]
        )
        assert [at for _, at in written] == pytest.approx(stream.played_at[: len(written)])
        assert len(stream.played) - len(written) <= 1
        await speaker.aclose()

    run_with_cards(scenario)


def block_the_loop(cards: FakeCards, blocks: int) -> None:
    """The device takes so many blocks while the loop stands still."""
    for _ in range(blocks):
        stream = cards.stream("output")
        block = np.full((480, stream.request.format.channels), np.nan, np.float32)
        now = asyncio.get_running_loop().time()
        stream._port.on_block(block.data.cast("B"), now, now, False)
        stream.played.append(block)


def test_a_loop_that_stands_still_costs_silence_without_a_click_and_more_room_afterwards() -> None:
    events: list[DeviceEvent] = []

    async def scenario(cards: FakeCards) -> None:
        speaker, voice = Speaker(hub=cards.hub, on_event=events.append), Voice(hz=200)
        await speaker.start(voice)
        await asyncio.sleep(1.0)
        before = speaker.latency_seconds
        block_the_loop(cards, 6)
        await asyncio.sleep(1.0)
        heard = cards.stream("output").heard()
        assert np.abs(np.diff(heard)).max() < 1.5 * steepest(200), "a click"
        assert 0.03 <= speaker.underrun_seconds <= 0.05
        assert speaker.latency_seconds == pytest.approx(before + 0.01, abs=0.006)
        await asyncio.sleep(40)
        assert speaker.latency_seconds == pytest.approx(before, abs=0.006)
        await speaker.aclose()

    run_with_cards(scenario)
    assert [(event.kind, event.direction) for event in events] == [("device_underrun", "output")]


def test_where_timers_are_coarse_the_driver_wakes_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rtc_audio.devices.speaker.COARSE_TIMERS", True)
    monkeypatch.setattr("rtc_audio.devices.feed.Feed.next_at", lambda feed, now: now + 3600)

    async def scenario(cards: FakeCards) -> None:
        speaker, voice = Speaker(hub=cards.hub), Voice()
        await speaker.start(voice)
        await asyncio.sleep(1.0)
        assert speaker.underrun_seconds == 0
        assert speaker.latency_seconds < 0.045
        await speaker.aclose()

    run_with_cards(scenario)


@pytest.mark.parametrize("phase", range(0, 240, 37))
def test_sound_that_ends_anywhere_leaves_along_a_ramp_and_comes_back_along_one(phase: int) -> None:
    async def scenario(cards: FakeCards) -> None:
        speaker, voice = Speaker(hub=cards.hub), Voice(hz=200)
        voice.position = phase
        await speaker.start(voice)
        await asyncio.sleep(0.5)
        stream = cards.stream("output")
        block_the_loop(cards, 5)
        assert not stream.played[-1].any()
        await asyncio.sleep(0.5)
        assert stream.played[-1].any()
        assert np.abs(np.diff(stream.heard())).max() < 1.5 * steepest(200), "a click"
        await speaker.aclose()

    run_with_cards(scenario)


@pytest.mark.parametrize("phase", range(0, 240, 37))
def test_flush_silences_the_speaker_within_a_block_and_without_a_click(phase: int) -> None:
    async def scenario(cards: FakeCards) -> None:
        speaker, voice = Speaker(hub=cards.hub), Voice(hz=200)
        voice.position = phase
        await speaker.start(voice)
        await asyncio.sleep(0.502)
        stream, blocks = cards.stream("output"), len(cards.stream("output").played)
        speaker._pull = lambda n: np.zeros((n, 1), np.float32)
        speaker.flush()
        played = speaker.played_seconds
        await asyncio.sleep(0.5)
        heard = stream.heard()
        assert np.abs(np.diff(heard)).max() < 2 * steepest(200), "a click"
        assert not heard[blocks * 480 + 240 :].any()
        assert speaker.underrun_seconds == 0
        assert speaker.played_seconds - played < 0.5 + 0.011, "what was dropped has not been played"
        await speaker.aclose()

    run_with_cards(scenario)


@pytest.mark.parametrize("rate_hz", [48000, 24000])
def test_whoever_fades_out_when_it_is_stopped_is_not_heard_a_second_time(rate_hz: int) -> None:
    async def scenario(cards: FakeCards) -> None:
        speaker, voice = Speaker(rate_hz=rate_hz, hub=cards.hub), Voice(hz=200, rate_hz=rate_hz)
        fading = np.linspace(1, 0, rate_hz // 200, dtype=np.float32)

        def stopped(n: int) -> Pcm:
            nonlocal fading
            part, fading = fading[:n], fading[n:]
            return np.pad(part * voice(n)[: len(part), 0], (0, n - len(part)))[:, None]

        await speaker.start(voice)
        await asyncio.sleep(0.502)
        stream, blocks = cards.stream("output"), len(cards.stream("output").played)
        speaker._pull = stopped
        speaker.flush()
        await asyncio.sleep(0.5)
        assert not len(fading)
        assert np.abs(stream.heard()[blocks * 480 + 240 :]).max() < 1e-4
        await speaker.aclose()

    run_with_cards(scenario)


@pytest.mark.parametrize("left", [0, 1, 2])
def test_flush_does_not_click_however_much_is_left(left: int) -> None:
    """The driver may have taken the last of it a moment before; what comes next is already there."""
    format = StreamFormat(48000, 1)
    render = Render(format, lambda: None)
    block, heard = bytearray(format.block_bytes), []

    def play() -> None:
        render.on_block(memoryview(block), 0.0, 0.0, False)
        heard.append(np.frombuffer(bytes(block), np.float32))

    for _ in range(3):
        render.put(np.full((480, 1), 0.5, np.float32))
        play()
    for _ in range(left):
        render.put(np.full((480, 1), 0.5, np.float32))
    render.flush()
    for _ in range(3):
        render.put(np.zeros((480, 1), np.float32))
        play()
    steepest = 0.5 * np.pi / 2 / 240
    assert np.abs(np.diff(np.concatenate(heard))).max() < 1.2 * steepest
    assert not heard[4].any()


def test_a_pull_that_raises_is_silence_and_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario(cards: FakeCards) -> None:
        speaker, voice = Speaker(hub=cards.hub), Voice()
        await speaker.start(voice)
        voice.failing = True
        await asyncio.sleep(0.5)
        assert not cards.stream("output").played[-1].any()
        voice.failing = False
        await asyncio.sleep(0.5)
        assert cards.stream("output").played[-1].any()
        assert speaker.faults > 10
        await speaker.aclose()

    run_with_cards(scenario)
    assert caplog.messages == [
        "the pull of a loudspeaker raised; silence instead, further ones are only counted"
    ]


def test_a_listener_that_raises_does_not_stop_the_voice(caplog: pytest.LogCaptureFixture) -> None:
    def listener(pcm: Mono, at: float) -> None:
        raise RuntimeError("deaf")

    async def scenario(cards: FakeCards) -> None:
        speaker = Speaker(hub=cards.hub, on_written=listener)
        await speaker.start(Voice())
        await asyncio.sleep(0.5)
        assert speaker.underrun_seconds == 0
        await speaker.aclose()

    run_with_cards(scenario)
    assert len(caplog.records) == 1


def test_a_second_start_replaces_the_pull_and_a_closed_speaker_can_start_again() -> None:
    async def scenario(cards: FakeCards) -> None:
        speaker, first, second = Speaker(hub=cards.hub), Voice(), Voice()
        await speaker.start(first)
        await asyncio.sleep(0.2)
        pulled = first.position
        await speaker.start(second)
        await asyncio.sleep(0.2)
        assert first.position == pulled
        assert second.position >= 9000
        await speaker.aclose()
        await speaker.aclose()
        await speaker.start(first)
        await asyncio.sleep(0.2)
        assert first.position > pulled
        assert speaker.played_seconds < 0.21
        await speaker.aclose()

    cards = run_with_cards(scenario)
    assert len(cards.requests) == 2


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"rate_hz": -1}, "rate_hz=-1: need an integer from 1 to 768000"),
        ({"device": None, "latency": "none"}, "latency='none': need 'low' or 'high'"),
    ],
)
def test_wrong_options_are_refused_at_once(options: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError) as caught:
        Speaker(**options)
    assert str(caught.value) == text
