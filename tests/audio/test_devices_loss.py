"""Devices that vanish, fall silent, come back or give way to others during a call. Virtual time."""

import asyncio
from collections.abc import Callable

import numpy as np
import pytest

from rtc_audio.devices import DeviceEvent, Microphone, Speaker
from rtc_audio.errors import DeviceBusy
from rtc_audio.ports import Pcm
from rtc_audio.uplink import Uplink
from support.fake_audio import LAPTOP, FakeCards, FakeStream, card, run_with_cards

HEADSET = LAPTOP[2]

Told = list[tuple[float, DeviceEvent]]


def teller(told: Told) -> Callable[[DeviceEvent], None]:
    return lambda event: told.append((asyncio.get_running_loop().time(), event))


def kinds(told: Told) -> list[str]:
    return [event.kind for _, event in told]


def end(stream: FakeStream) -> None:
    """What PortAudio shows when a sound server dies: finished_callback."""
    stream.end()


def inactive(stream: FakeStream) -> None:
    """Only `active` says it."""
    stream.paused, stream.active = True, False


def standstill(stream: FakeStream) -> None:
    """Nothing says it but the missing callbacks."""
    stream.paused = True


@pytest.mark.parametrize("happening", [end, inactive, standstill])
@pytest.mark.parametrize("direction", ["input", "output"])
def test_a_loss_is_noticed_within_a_second_and_the_device_is_back_at_once(direction, happening) -> None:  # type: ignore[no-untyped-def]  # literals
    told: Told = []

    async def scenario(cards: FakeCards) -> None:
        microphone = Microphone(hub=cards.hub, on_event=teller(told))
        speaker = Speaker(hub=cards.hub, on_event=teller(told))
        await microphone.start()
        await speaker.start(lambda n: np.zeros((n, 1), np.float32))
        await asyncio.sleep(5.05)
        happened = asyncio.get_running_loop().time()
        happening(cards.stream(direction))
        await asyncio.sleep(3)
        assert kinds(told) == ["device_lost", "device_restored"]
        assert told[0][0] - happened <= 1.0
        assert told[1][0] - told[0][0] < 0.1
        assert cards.refreshes == 0, "the other device is not disturbed"
        assert {stream.request.direction for stream in cards.open_streams} == {"input", "output"}
        await asyncio.gather(microphone.aclose(), speaker.aclose())

    run_with_cards(scenario)


def test_a_pulled_headset_gives_way_to_the_default_and_the_other_device_goes_on() -> None:
    heard: Told = []
    spoken: Told = []

    async def scenario(cards: FakeCards) -> None:
        microphone = Microphone("headset", hub=cards.hub, on_event=teller(heard))
        speaker = Speaker(hub=cards.hub, on_event=teller(spoken))
        await microphone.start()
        await speaker.start(lambda n: np.full((n, 1), 0.1, np.float32))
        assert microphone.device == HEADSET
        await asyncio.sleep(1)
        cards.unplug("USB Headset")
        assert microphone.read(960).shape[1] == 1
        await asyncio.sleep(2)
        assert microphone.device == LAPTOP[0]
        assert cards.refreshes == 1
        assert speaker.device == LAPTOP[1]
        assert cards.stream("output").played[-1].any()
        await asyncio.gather(microphone.aclose(), speaker.aclose())

    run_with_cards(scenario)
    assert [(event.kind, event.device, event.reason) for _, event in heard] == [
        ("device_lost", "USB Headset", "the stream has ended"),
        ("device_changed", "Built-in Microphone", "in place of USB Headset"),
    ]
    assert heard[1][0] - heard[0][0] < 1
    assert spoken == [], "closed and opened anew for the list, which is no loss"


def test_a_device_that_comes_back_is_found_under_its_name_at_another_index() -> None:
    told: Told = []

    async def scenario(cards: FakeCards) -> None:
        microphone = Microphone("headset", hub=cards.hub, on_event=teller(told))
        await microphone.start()
        cards.unplug("USB Headset")
        await asyncio.sleep(20)
        assert microphone.device is None
        assert microphone.read(960).shape == (0, 1)
        cards.plug(card(5, "USB Headset", inputs=1))
        await asyncio.sleep(9)
        assert microphone.device is not None
        assert microphone.device.index == 5
        await microphone.aclose()

    run_with_cards(scenario, HEADSET)
    assert kinds(told) == ["device_lost", "device_restored"]


def test_attempts_at_a_device_that_stays_away_become_rare() -> None:
    async def scenario(cards: FakeCards) -> None:
        microphone = Microphone("headset", hub=cards.hub)
        await microphone.start()
        cards.unplug("USB Headset")
        await asyncio.sleep(16)
        early = cards.refreshes
        await asyncio.sleep(80)
        assert early <= 7
        assert cards.refreshes - early <= 10
        await microphone.aclose()

    run_with_cards(scenario, HEADSET)


def test_two_devices_that_are_lost_together_share_the_listing() -> None:
    told: Told = []

    async def scenario(cards: FakeCards) -> None:
        microphone = Microphone("headset", hub=cards.hub, on_event=teller(told))
        speaker = Speaker("headset", hub=cards.hub, on_event=teller(told))
        await microphone.start()
        await speaker.start(lambda n: np.zeros((n, 1), np.float32))
        cards.unplug("USB Headset")
        await asyncio.sleep(5)
        assert cards.refreshes <= 2
        assert (microphone.device, speaker.device) == LAPTOP[:2]
        await asyncio.gather(microphone.aclose(), speaker.aclose())

    run_with_cards(scenario)
    assert sorted(kinds(told)) == ["device_changed", "device_changed", "device_lost", "device_lost"]


def test_a_device_that_vanishes_while_it_opens_is_an_error_and_while_it_returns_tried_again() -> None:
    told: Told = []

    async def scenario(cards: FakeCards) -> None:
        microphone = Microphone("headset", hub=cards.hub, on_event=teller(told))
        await microphone.start()
        busy = DeviceBusy("USB Headset", "in use by another program or unplugged: Device unavailable")
        cards.refusals = {"USB Headset": [busy] * 3}
        end(cards.stream("input"))
        await asyncio.sleep(10)
        assert microphone.device == HEADSET
        await microphone.aclose()

    run_with_cards(scenario)
    assert kinds(told) == ["device_lost", "device_restored"]


def test_a_device_that_is_listed_but_cannot_be_opened_gives_way_to_the_default() -> None:
    async def scenario(cards: FakeCards) -> None:
        microphone = Microphone("headset", hub=cards.hub)
        await microphone.start()
        cards.refusals = {"USB Headset": [DeviceBusy("USB Headset", "in use by another program")] * 100}
        end(cards.stream("input"))
        await asyncio.sleep(2)
        assert microphone.device == LAPTOP[0]
        await microphone.aclose()

    run_with_cards(scenario)


def test_without_reopen_a_loss_is_told_and_that_is_all() -> None:
    told: Told = []

    async def scenario(cards: FakeCards) -> None:
        microphone = Microphone(hub=cards.hub, reopen=False, on_event=teller(told))
        await microphone.start()
        await asyncio.sleep(1)
        end(cards.stream("input"))
        await asyncio.sleep(20)
        assert len(cards.requests) == 1
        assert microphone.device is None
        await microphone.aclose()

    run_with_cards(scenario)
    assert kinds(told) == ["device_lost"]


def test_without_reopen_a_listing_for_others_is_survived_once() -> None:
    told: Told = []

    async def scenario(cards: FakeCards) -> None:
        microphone = Microphone("headset", hub=cards.hub)
        speaker = Speaker(hub=cards.hub, reopen=False, on_event=teller(told))
        await microphone.start()
        await speaker.start(lambda n: np.zeros((n, 1), np.float32))
        cards.unplug("USB Headset")
        await asyncio.sleep(2)
        assert speaker.device == LAPTOP[1]
        assert told == []
        await asyncio.gather(microphone.aclose(), speaker.aclose())

    run_with_cards(scenario)


def test_digital_silence_of_a_removed_device_is_told_and_met_by_a_reopen() -> None:
    """What a sound server does that keeps calling back for a source that is gone."""
    told: Told = []

    async def scenario(cards: FakeCards) -> None:
        microphone = Microphone(hub=cards.hub, on_event=teller(told))
        await microphone.start()
        await asyncio.sleep(2)
        happened = asyncio.get_running_loop().time()
        cards.stream("input").silent = True
        await asyncio.sleep(5)
        assert told[0][0] - happened <= 3.3
        assert len(cards.requests) == 2
        await microphone.aclose()

    run_with_cards(scenario)
    assert [(event.kind, event.reason) for _, event in told] == [
        ("device_silent", "only digital zeros for 3 s: muted, removed or not permitted"),
        ("device_restored", "it can be heard again"),
    ]


def test_a_microphone_that_is_switched_off_is_told_of_once() -> None:
    told: Told = []

    async def scenario(cards: FakeCards) -> None:
        cards.sound = lambda name, channel, seconds: np.zeros(len(seconds))
        microphone = Microphone(hub=cards.hub, on_event=teller(told))
        await microphone.start()
        await asyncio.sleep(300)
        assert len(cards.requests) == 1 + 8, "opened anew after 3, 6, 12, 24, 48 s, then every minute"
        await microphone.aclose()

    run_with_cards(scenario)
    assert kinds(told) == ["device_silent"]


def test_silence_that_is_not_digital_is_no_loss() -> None:
    told: Told = []

    async def scenario(cards: FakeCards) -> None:
        cards.sound = lambda name, channel, seconds: np.full(len(seconds), 1e-6)
        microphone = Microphone(hub=cards.hub, on_event=teller(told))
        await microphone.start()
        await asyncio.sleep(30)
        await microphone.aclose()

    run_with_cards(scenario)
    assert told == []


def test_while_the_speaker_is_lost_the_voice_goes_on_unheard_in_real_time() -> None:
    async def scenario(cards: FakeCards) -> None:
        pulled = 0

        def pull(n: int) -> Pcm:
            nonlocal pulled
            pulled += n
            return np.full((n, 1), 0.1, np.float32)

        speaker = Speaker("headset", hub=cards.hub)
        await speaker.start(pull)
        await asyncio.sleep(1)
        cards.unplug("USB Headset")
        await asyncio.sleep(0.5)
        before, heard = pulled, speaker.played_seconds
        assert (speaker.device, speaker.latency_seconds) == (None, 0.0)
        await asyncio.sleep(10)
        assert (pulled - before) / 48000 == pytest.approx(10, abs=0.05)
        assert speaker.played_seconds == heard == pytest.approx(1, abs=0.05)
        cards.plug(HEADSET)
        await asyncio.sleep(10)
        before = pulled
        await asyncio.sleep(5)
        assert (pulled - before) / 48000 == pytest.approx(5, abs=0.05), "pulled once, not twice"
        await speaker.aclose()

    run_with_cards(scenario, HEADSET)


def test_a_closed_device_does_not_come_back() -> None:
    async def scenario(cards: FakeCards) -> None:
        microphone, speaker = Microphone("headset", hub=cards.hub), Speaker("headset", hub=cards.hub)
        await microphone.start()
        await speaker.start(lambda n: np.zeros((n, 1), np.float32))
        cards.unplug("USB Headset")
        await asyncio.sleep(3)
        await asyncio.gather(microphone.aclose(), speaker.aclose())
        cards.plug(HEADSET)
        await asyncio.sleep(20)
        assert not cards.open_streams

    run_with_cards(scenario, HEADSET)


def test_a_listener_that_raises_does_not_keep_the_device_away(caplog: pytest.LogCaptureFixture) -> None:
    def listener(event: DeviceEvent) -> None:
        raise RuntimeError("deaf")

    async def scenario(cards: FakeCards) -> None:
        microphone = Microphone(hub=cards.hub, on_event=listener)
        await microphone.start()
        end(cards.stream("input"))
        await asyncio.sleep(1)
        assert microphone.device is not None
        await microphone.aclose()

    run_with_cards(scenario)
    assert "on_event of a device raised" in caplog.messages


def test_an_uplink_stays_muted_and_follows_the_new_rate_through_a_loss() -> None:
    errors: list[Exception] = []

    async def scenario(cards: FakeCards) -> None:
        cards.accepts = {"Built-in Microphone": {(16000, 1)}}
        microphone = Microphone("headset", hub=cards.hub)
        uplink = Uplink(on_error=errors.append, on_ended=lambda source: None)
        await microphone.start()
        uplink.set_source(microphone)

        async def send(seconds: float) -> list[np.ndarray[tuple[int, ...], np.dtype[np.float32]]]:
            sent = []
            for _ in range(round(seconds * 50)):
                await asyncio.sleep(0.02)
                sent.append(uplink.read(960))
            return sent

        await send(1)
        uplink.muted = True
        cards.unplug("USB Headset")
        muted = await send(3)
        assert not np.concatenate(muted[2:]).any()
        assert microphone.rate_hz == 16000
        uplink.muted = False
        heard = np.concatenate((await send(2))[50:])
        assert np.abs(np.fft.rfft(heard * np.hanning(len(heard)))).argmax() == 440
        await microphone.aclose()

    run_with_cards(scenario)
    assert errors == []
