"""The microphone: what is read is what was recorded, in time, whatever the clocks do. Virtual time."""

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from rtc_audio.devices import DeviceEvent, Microphone
from rtc_audio.errors import DeviceBusy, DeviceError, DeviceNotFound, DeviceRefused, NoDevice
from rtc_audio.ports import AudioSource, ClearableSource
from support.fake_audio import DEVICE_SECONDS, LAPTOP, FakeCards, card, run_with_cards

Mono = NDArray[np.float32]

READ_SECONDS = 0.02


async def read_for(
    microphone: Microphone, seconds: float, between: Callable[[], None] = lambda: None, start: float = 0.003
) -> list[Mono]:
    """Reads 20 ms at a time, as a track does."""
    loop = asyncio.get_running_loop()
    begin, reads = loop.time() + start, []
    for i in range(round(seconds / READ_SECONDS)):
        await asyncio.sleep(begin + i * READ_SECONDS - loop.time())
        reads.append(microphone.read(round(microphone.rate_hz * READ_SECONDS))[:, 0])
        between()
    return reads


def pitch_hz(pcm: Mono, rate_hz: int) -> float:
    spectrum = np.abs(np.fft.rfft(pcm * np.hanning(len(pcm)), 8 * len(pcm)))
    return float(spectrum.argmax() * rate_hz / (8 * len(pcm)))


def test_it_is_a_live_source_by_shape() -> None:
    assert isinstance(Microphone(), AudioSource)
    assert isinstance(Microphone(), ClearableSource)


def test_what_is_recorded_is_read_sample_by_sample() -> None:
    async def scenario(cards: FakeCards) -> None:
        microphone = Microphone(hub=cards.hub)
        assert microphone.read(960).shape == (0, 1), "not open: nothing, and no exception"
        await microphone.start()
        await microphone.start()
        assert (microphone.rate_hz, microphone.channels, microphone.ended) == (48000, 1, False)
        reads = await read_for(microphone, 2.0)
        lengths = [len(read) for read in reads]
        assert set(lengths) == {0, 960}
        assert sum(length == 0 for length in lengths) <= 2, "only until there is enough"
        pcm = np.concatenate(reads)
        at = np.arange(len(pcm) + 4800) / 48000
        recorded = (0.3 * np.sin(2 * np.pi * 440 * at + 0.1)).astype(np.float32)
        start = int(np.argmin([np.abs(recorded[i : i + 960] - pcm[:960]).max() for i in range(4800)]))
        np.testing.assert_allclose(pcm, recorded[start : start + len(pcm)], atol=1e-6)
        assert microphone.dropped_seconds == microphone.overflow_seconds == 0
        await microphone.aclose()
        await microphone.aclose()
        assert microphone.device is None
        assert microphone.read(960).shape == (0, 1)

    cards = run_with_cards(scenario)
    assert [request.latency for request in cards.requests] == ["low"]


def test_what_is_read_is_recent_and_says_when_it_was_recorded() -> None:
    async def scenario(cards: FakeCards) -> None:
        cards.sound = lambda name, channel, seconds: seconds + 1  # sound that says when it was
        microphone = Microphone(hub=cards.hub)
        await microphone.start()
        opened = asyncio.get_running_loop().time()
        await read_for(microphone, 1.0)
        told = microphone.next_seconds
        (read,) = await read_for(microphone, READ_SECONDS, start=READ_SECONDS)
        now = asyncio.get_running_loop().time()
        assert told is not None
        recorded = float(read[0]) - 1 + opened - DEVICE_SECONDS
        assert told == pytest.approx(recorded, abs=1e-4)
        assert now - told < 0.055, "one read, one block kept, one block on its way, the device"
        await microphone.aclose()
        assert microphone.next_seconds is None

    run_with_cards(scenario)


@pytest.mark.parametrize("ppm", [-300, 100, 300])
def test_drift_between_device_and_network_neither_grows_nor_starves(ppm: float) -> None:
    async def scenario(cards: FakeCards) -> None:
        cards.ppm = {"Built-in Microphone": ppm}
        microphone = Microphone(hub=cards.hub)
        await microphone.start()
        await read_for(microphone, 10.0)
        ages: list[float] = []

        def note() -> None:
            assert microphone.next_seconds is not None
            ages.append(asyncio.get_running_loop().time() - microphone.next_seconds)

        reads = await read_for(microphone, 60.0, note)
        pcm = np.concatenate(reads)
        assert sum(len(read) == 0 for read in reads) <= 2
        assert max(ages) - min(ages) < 0.025, "the delay stays where it was"
        assert microphone.dropped_seconds == 0
        assert np.abs(np.diff(pcm, 2)).max() < 1.1 * 0.3 * (2 * np.pi * 440 / 48000) ** 2, "a click"
        await microphone.aclose()

    run_with_cards(scenario)


def test_a_reader_that_was_late_loses_the_oldest_and_goes_on_without_delay() -> None:
    async def scenario(cards: FakeCards) -> None:
        microphone = Microphone(hub=cards.hub, backlog_seconds=0.2)
        await microphone.start()
        await read_for(microphone, 1.0)
        await asyncio.sleep(1.0)
        await read_for(microphone, 1.0)
        now, told = asyncio.get_running_loop().time(), microphone.next_seconds
        assert told is not None
        assert now - told < 0.06
        assert microphone.dropped_seconds == pytest.approx(1.0, abs=0.06)
        await microphone.aclose()

    run_with_cards(scenario)


def test_a_stall_of_the_reader_that_is_caught_up_loses_nothing() -> None:
    async def scenario(cards: FakeCards) -> None:
        microphone = Microphone(hub=cards.hub)
        await microphone.start()
        await read_for(microphone, 1.0)
        await asyncio.sleep(0.14)
        reads = []
        for _ in range(6):  # two in the time of one, as a pacer does
            reads += [microphone.read(960)[:, 0], microphone.read(960)[:, 0]]
            await asyncio.sleep(READ_SECONDS)
        reads += await read_for(microphone, 1.0, start=0.0)
        assert all(len(read) == 960 for read in reads)
        assert np.abs(np.diff(np.concatenate(reads))).max() < 0.02
        assert microphone.dropped_seconds == 0
        await microphone.aclose()

    run_with_cards(scenario)


def test_a_stall_of_the_reader_that_stays_is_left_out_without_a_click() -> None:
    async def scenario(cards: FakeCards) -> None:
        microphone = Microphone(hub=cards.hub)
        await microphone.start()
        await read_for(microphone, 1.0)
        await asyncio.sleep(0.12)
        reads = await read_for(microphone, 0.6)
        assert all(len(read) == 960 for read in reads)
        assert np.abs(np.diff(np.concatenate(reads))).max() < 0.05
        assert 0.08 < microphone.dropped_seconds < 0.14
        await microphone.aclose()

    run_with_cards(scenario)


def test_clear_drops_the_backlog() -> None:
    async def scenario(cards: FakeCards) -> None:
        cards.sound = lambda name, channel, seconds: seconds + 1
        microphone = Microphone(hub=cards.hub)
        await microphone.start()
        opened = asyncio.get_running_loop().time()
        await asyncio.sleep(0.1)
        microphone.clear()
        cleared = asyncio.get_running_loop().time() - opened
        reads = [read for read in await read_for(microphone, 0.2) if len(read)]
        assert float(reads[0][0]) - 1 > cleared - 0.011
        await microphone.aclose()

    run_with_cards(scenario)


@pytest.mark.parametrize(
    ("accepted", "expected"),
    [((44100, 1), (44100, 1)), ((16000, 1), (16000, 1)), ((48000, 2), (48000, 2)), ((44100, 4), (44100, 4))],
)
def test_a_device_is_opened_in_what_it_accepts(accepted: tuple[int, int], expected: tuple[int, int]) -> None:
    async def scenario(cards: FakeCards) -> None:
        cards.accepts = {"Array": {accepted}}
        microphone = Microphone(hub=cards.hub)
        await microphone.start()
        format = cards.stream("input").request.format
        assert (format.rate_hz, format.channels) == expected
        assert microphone.rate_hz == accepted[0]
        pcm = np.concatenate(await read_for(microphone, 1.0))
        assert pitch_hz(pcm, microphone.rate_hz) == pytest.approx(440, rel=0.001)
        await microphone.aclose()

    run_with_cards(scenario, card(0, "Array", inputs=4))


@pytest.mark.parametrize(("channel", "level"), [(None, 0.25), (0, 0.1), (3, 0.4)])
def test_one_channel_or_the_mean_of_all_is_read(channel: int | None, level: float) -> None:
    async def scenario(cards: FakeCards) -> None:
        cards.accepts = {"Array": {(48000, 4)}}
        cards.sound = lambda name, number, seconds: np.full(len(seconds), 0.1 * (number + 1))
        microphone = Microphone(channel=channel, hub=cards.hub)
        await microphone.start()
        reads = await read_for(microphone, 0.2)
        np.testing.assert_allclose(reads[-1], level, atol=1e-6)
        await microphone.aclose()

    run_with_cards(scenario, card(0, "Array", inputs=4))


def test_low_latency_that_is_refused_becomes_high_with_a_log_line(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario(cards: FakeCards) -> None:
        cards.refusals = {
            "Built-in Microphone": [DeviceRefused("Built-in Microphone", "Internal PortAudio error")]
        }
        microphone = Microphone(hub=cards.hub)
        with caplog.at_level(logging.INFO, "rtc_audio.devices"):
            await microphone.start()
        assert [request.latency for request in cards.requests] == ["low", "high"]
        await microphone.aclose()

    run_with_cards(scenario)
    assert caplog.messages == [
        "Built-in Microphone: opened with high latency, for low the driver said: Internal PortAudio error"
    ]


def test_a_driver_that_loses_sound_is_opened_anew_with_high_latency() -> None:
    events: list[DeviceEvent] = []

    async def scenario(cards: FakeCards) -> None:
        microphone = Microphone(hub=cards.hub, on_event=events.append)
        await microphone.start()
        cards.stream("input").flagging = True
        await asyncio.sleep(2)
        assert [request.latency for request in cards.requests] == ["low", "high"]
        assert microphone.overflow_seconds > 0
        await microphone.aclose()

    run_with_cards(scenario)
    assert [event.kind for event in events] == ["device_overflow"]
    assert "of sound are missing" in events[0].reason


def test_flags_of_the_first_100_ms_mean_nothing() -> None:
    async def scenario(cards: FakeCards) -> None:
        microphone = Microphone(hub=cards.hub)
        await microphone.start()
        cards.stream("input").flagging = True
        await asyncio.sleep(0.09)
        cards.stream("input").flagging = False
        await asyncio.sleep(2)
        assert microphone.overflow_seconds == 0
        assert len(cards.requests) == 1
        await microphone.aclose()

    run_with_cards(scenario)


def test_a_fault_in_the_callback_is_an_event_and_the_stream_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    events: list[DeviceEvent] = []

    async def scenario(cards: FakeCards) -> None:
        microphone = Microphone(hub=cards.hub, on_event=events.append)
        await microphone.start()
        cards.stream("input").raising = True
        await asyncio.sleep(0.5)
        cards.stream("input").raising = False
        await asyncio.sleep(0.5)
        assert len((await read_for(microphone, 0.2))[-1]) == 960
        await microphone.aclose()

    run_with_cards(scenario)
    assert [(event.kind, event.reason) for event in events] == [
        ("device_fault", "ValueError in the exchange with the driver")
    ]
    assert len(caplog.records) == 2, "once with its traceback, once as an event"


REFUSALS: list[tuple[dict[str, Any], Exception, str]] = [
    (
        {"device": "Built-in"},
        DeviceBusy("Built-in Microphone", "in use by another program or unplugged: Device unavailable"),
        "cannot open Built-in Microphone: in use by another program or unplugged: Device unavailable",
    ),
    (
        {},
        DeviceRefused("Built-in Microphone", "Unanticipated host error: Permission denied"),
        "cannot open Built-in Microphone: Unanticipated host error: Permission denied",
    ),
]


@pytest.mark.parametrize(("options", "refusal", "text"), REFUSALS)
def test_a_device_that_cannot_be_opened_says_why(
    options: dict[str, Any], refusal: Exception, text: str
) -> None:
    async def scenario(cards: FakeCards) -> None:
        cards.refusals = {"Built-in Microphone": [refusal, refusal]}
        microphone = Microphone(**options, hub=cards.hub)
        with pytest.raises(type(refusal)) as caught:
            await microphone.start()
        assert str(caught.value) == text
        await microphone.start()  # it is free now
        await microphone.aclose()

    run_with_cards(scenario)


def test_a_rate_that_the_device_refuses_says_so() -> None:
    async def scenario(cards: FakeCards) -> None:
        cards.accepts = {"Built-in Microphone": {(48000, 1)}}
        with pytest.raises(
            DeviceRefused, match=r"^cannot open Built-in Microphone: Invalid sample rate \(8000 Hz, 1 ch\)$"
        ):
            await Microphone(rate_hz=8000, hub=cards.hub).start()
        with pytest.raises(
            DeviceRefused, match=r"^cannot open Built-in Microphone: it has too few channels$"
        ):
            await Microphone(channel=1, hub=cards.hub).start()

    run_with_cards(scenario)


def test_no_such_device_and_no_device_at_all() -> None:
    async def unknown(cards: FakeCards) -> None:
        with pytest.raises(DeviceNotFound, match="there are: 0: Built-in Microphone"):
            await Microphone("AirPods", hub=cards.hub).start()

    async def none(cards: FakeCards) -> None:
        with pytest.raises(NoDevice, match=r"^there is no microphone$"):
            await Microphone(hub=cards.hub).start()

    run_with_cards(unknown)
    run_with_cards(none, card(0, "Speakers", outputs=2))


def test_a_cancelled_start_leaves_nothing_open() -> None:
    async def scenario(cards: FakeCards) -> None:
        cards.open_seconds = {"Built-in Microphone": 2.0}
        microphone = Microphone(hub=cards.hub)
        starting = asyncio.create_task(microphone.start())
        await asyncio.sleep(0.5)
        starting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await starting
        assert not cards.open_streams
        await microphone.aclose()

    run_with_cards(scenario)


def test_closing_during_the_start_ends_both() -> None:
    async def scenario(cards: FakeCards) -> None:
        cards.open_seconds = {"Built-in Microphone": 2.0}
        microphone = Microphone(hub=cards.hub)
        starting = [asyncio.create_task(microphone.start()) for _ in range(2)]
        await asyncio.sleep(0.5)
        await microphone.aclose()
        for error in await asyncio.gather(*starting, return_exceptions=True):
            assert isinstance(error, DeviceError)
            assert str(error) == "the default input device was closed while it was being opened"
        await microphone.start()
        await microphone.aclose()

    run_with_cards(scenario)


def test_one_microphone_serves_one_event_loop_after_another() -> None:
    cards = FakeCards(*LAPTOP)
    microphone = Microphone(hub=cards.hub)

    async def scenario(_: FakeCards) -> None:
        await microphone.start()
        await asyncio.sleep(1)
        cards.stream("input").end()
        await asyncio.sleep(1)
        assert len((await read_for(microphone, 0.2))[-1]) == 960
        await microphone.aclose()

    run_with_cards(scenario)
    run_with_cards(scenario)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"device": ""}, "device='': need a name, an index from 0 or None for the default"),
        ({"device": -1}, "device=-1: need a name, an index from 0 or None for the default"),
        ({"device": True}, "device=True: need a name, an index or None"),
        ({"device": 1.5}, "device=1.5: need a name, an index or None"),
        ({"rate_hz": 0}, "rate_hz=0: need an integer from 1 to 768000"),
        ({"channel": -1}, "channel=-1: need 0 or more"),
        ({"latency": "medium"}, "latency='medium': need 'low' or 'high'"),
        ({"backlog_seconds": 0}, "backlog_seconds=0: need 0.05 to 5"),
    ],
)
def test_wrong_options_are_refused_at_once(options: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError) as caught:
        Microphone(**options)
    assert str(caught.value) == text
