"""A device that was lost and replaced comes back while another one stands in for it. Virtual time."""

import asyncio
from dataclasses import replace

import numpy as np
import pytest

from rtc_audio.devices import DeviceEvent, Microphone, Speaker
from rtc_audio.errors import DeviceBusy
from rtc_audio.ports import Pcm
from support.fake_audio import LAPTOP, FakeCards, card, run_with_cards

HEADSET = LAPTOP[2]
BACK_AT_ANOTHER_PLACE = card(5, "USB Headset", inputs=1, outputs=2)


class Told(list[tuple[str, str, str]]):
    """An `on_event` that keeps what it is told."""

    def __call__(self, event: DeviceEvent) -> None:
        self.append((event.kind, event.device, event.reason))


LOST = ("device_lost", "USB Headset", "the stream has ended")
REPLACED = ("device_changed", "Built-in Microphone", "in place of USB Headset")
BACK = ("device_restored", "USB Headset", "it is back, in place of Built-in Microphone")


def silence(n: int) -> Pcm:
    return np.zeros((n, 1), np.float32)


def test_a_named_device_that_comes_back_is_used_again() -> None:
    told, others = Told(), Told()

    async def scenario(cards: FakeCards) -> None:
        microphone = Microphone("headset", hub=cards.hub, on_event=told)
        speaker = Speaker(hub=cards.hub, on_event=others)
        await microphone.start()
        await speaker.start(silence)
        cards.unplug("USB Headset")
        await asyncio.sleep(60)
        assert microphone.device == LAPTOP[0]
        assert cards.refreshes == 1, "nobody is disturbed to look for it"
        assert 3 <= cards.looks <= 10
        cards.plug(BACK_AT_ANOTHER_PLACE)
        await asyncio.sleep(16)
        assert microphone.device == BACK_AT_ANOTHER_PLACE
        assert speaker.device == LAPTOP[1]
        looks = cards.looks
        await asyncio.sleep(60)
        assert (cards.refreshes, cards.looks) == (2, looks), "it is not looked for any more"
        assert len(cards.open_streams) == 2
        await asyncio.gather(microphone.aclose(), speaker.aclose())

    run_with_cards(scenario)
    assert told == [LOST, REPLACED, BACK]
    assert others == []


def test_a_device_that_is_listed_all_the_time_is_used_again_without_a_gap() -> None:
    """As those of a sound server on Linux: what is listed cannot be opened while it is away."""
    told = Told()

    async def scenario(cards: FakeCards) -> None:
        microphone = Microphone("headset", hub=cards.hub, on_event=told)
        await microphone.start()
        await asyncio.sleep(1)
        cards.refusals = {"USB Headset": [DeviceBusy("USB Headset", "in use by another program")] * 1000}
        cards.stream("input").end()
        await asyncio.sleep(40)
        assert microphone.device == LAPTOP[0]
        refreshes = cards.refreshes
        cards.refusals = {}
        short = 0
        for _ in range(16 * 50):
            await asyncio.sleep(0.02)
            short += len(microphone.read(960)) != 960
        assert microphone.device == HEADSET
        assert short == 0
        assert (cards.refreshes, cards.looks) == (refreshes, 0)
        await microphone.aclose()

    run_with_cards(scenario)
    assert told == [LOST, REPLACED, BACK]


def test_the_voice_moves_back_without_a_click_in_either_device() -> None:
    async def scenario(cards: FakeCards) -> None:
        at = 0

        def tone(n: int) -> Pcm:
            nonlocal at
            at += n
            return (0.3 * np.sin(2 * np.pi * 200 * np.arange(at - n, at) / 48000)).astype(np.float32)[:, None]

        speaker = Speaker("headset", hub=cards.hub)
        await speaker.start(tone)
        cards.refusals = {"USB Headset": [DeviceBusy("USB Headset", "in use by another program")] * 4}
        cards.stream("output").end()
        await asyncio.sleep(20)
        assert speaker.device == HEADSET
        _, built_in, headset = cards.streams
        for stream in (built_in, headset):
            heard = stream.heard()
            assert np.abs(heard).max() > 0.29
            assert np.abs(np.diff(heard)).max() < 1.5 * 0.3 * 2 * np.pi * 200 / 48000, "a click"
        assert not built_in.played[-1].any()
        seconds = speaker.played_seconds
        await asyncio.sleep(1)
        assert speaker.played_seconds - seconds == pytest.approx(1, abs=0.02)
        await speaker.aclose()

    run_with_cards(scenario)


def test_a_device_that_opens_and_does_not_work_is_not_used() -> None:
    told = Told()

    async def scenario(cards: FakeCards) -> None:
        microphone = Microphone("headset", hub=cards.hub, on_event=told)
        await microphone.start()
        cards.refusals = {"USB Headset": [DeviceBusy("USB Headset", "in use by another program")] * 4}
        cards.stream("input").end()
        await asyncio.sleep(2)
        cards.broken.add("USB Headset")
        await asyncio.sleep(60)
        assert microphone.device == LAPTOP[0]
        assert len(cards.open_streams) <= 2
        cards.broken.clear()
        await asyncio.sleep(20)
        assert microphone.device == HEADSET
        await microphone.aclose()

    run_with_cards(scenario)
    assert told == [LOST, REPLACED, BACK]


def test_the_default_is_used_again_when_it_is_the_default_again() -> None:
    told = Told()
    default = replace(HEADSET, is_default_input=True)
    built_in = replace(LAPTOP[0], is_default_input=False)

    async def scenario(cards: FakeCards) -> None:
        microphone = Microphone(hub=cards.hub, on_event=told)
        await microphone.start()
        cards.unplug("USB Headset")
        await asyncio.sleep(10)
        assert microphone.device == built_in
        cards.plug(HEADSET)
        await asyncio.sleep(40)
        assert microphone.device == built_in, "the user wants another default now"
        cards.plugged[-1] = default
        await asyncio.sleep(20)
        assert microphone.device == default
        await microphone.aclose()

    run_with_cards(scenario, built_in, default)
    assert told == [LOST, REPLACED, BACK]


def test_a_stand_in_that_is_lost_as_well_is_not_what_is_waited_for() -> None:
    told = Told()
    other = card(3, "Webcam", inputs=1)

    async def scenario(cards: FakeCards) -> None:
        microphone = Microphone("headset", hub=cards.hub, on_event=told)
        await microphone.start()
        cards.unplug("USB Headset")
        await asyncio.sleep(2)
        cards.unplug("Built-in Microphone")
        await asyncio.sleep(2)
        assert microphone.device == other
        cards.plug(LAPTOP[0])
        await asyncio.sleep(40)
        assert microphone.device == other
        cards.plug(HEADSET)
        await asyncio.sleep(20)
        assert microphone.device == HEADSET
        await microphone.aclose()

    run_with_cards(scenario, *LAPTOP, other)
    assert [kind for kind, _, _ in told] == [
        "device_lost", "device_changed", "device_lost", "device_changed", "device_restored",
    ]  # fmt: skip


def test_both_directions_of_a_headset_come_back() -> None:
    async def scenario(cards: FakeCards) -> None:
        microphone, speaker = Microphone("headset", hub=cards.hub), Speaker("headset", hub=cards.hub)
        await microphone.start()
        await speaker.start(silence)
        cards.unplug("USB Headset")
        await asyncio.sleep(5)
        assert (microphone.device, speaker.device) == LAPTOP[:2]
        cards.plug(BACK_AT_ANOTHER_PLACE)
        await asyncio.sleep(30)
        assert microphone.device == speaker.device == BACK_AT_ANOTHER_PLACE
        assert len(cards.open_streams) == 2
        assert cards.refreshes <= 3
        await asyncio.gather(microphone.aclose(), speaker.aclose())

    run_with_cards(scenario)


@pytest.mark.parametrize("seconds", [0.5, 3.1, 3.3, 3.5, 6.2])
def test_closed_while_it_is_waited_for_nothing_stays_open(seconds: float) -> None:
    async def scenario(cards: FakeCards) -> None:
        microphone = Microphone("headset", hub=cards.hub)
        await microphone.start()
        cards.unplug("USB Headset")
        await asyncio.sleep(0.4)
        cards.plug(HEADSET)
        await asyncio.sleep(seconds)
        await microphone.aclose()
        await asyncio.sleep(20)

    run_with_cards(scenario)


def test_a_device_that_is_lost_again_after_its_return_is_replaced_again() -> None:
    told = Told()

    async def scenario(cards: FakeCards) -> None:
        microphone = Microphone("headset", hub=cards.hub, on_event=told)
        await microphone.start()
        for _ in range(3):
            cards.unplug("USB Headset")
            await asyncio.sleep(2)
            cards.plug(HEADSET)
            await asyncio.sleep(16)
            assert microphone.device == HEADSET
        cards.stream("input").end()  # and once it is back at once
        await asyncio.sleep(2)
        await microphone.aclose()

    run_with_cards(scenario)
    assert told == [LOST, REPLACED, BACK] * 3 + [LOST, ("device_restored", "USB Headset", "it works again")]
