"""Which device is meant, which one takes over, and in which formats it is tried."""

import pytest

from rtc_audio.devices.selection import choose, formats, replace
from rtc_audio.devices.types import DeviceInfo
from rtc_audio.errors import AmbiguousDevice, DeviceNotFound, NoDevice
from support.fake_audio import LAPTOP, card

WINDOWS = (
    card(0, "Microphone (Realtek High Defini", inputs=2, host_api="MME", is_default_input=True),
    card(1, "Microphone (Realtek High Definition Audio)", inputs=2, host_api="Windows DirectSound"),
    card(2, "Microphone (Realtek High Definition Audio)", inputs=2, host_api="Windows WASAPI"),
    card(3, "Headset (USB)", inputs=1, host_api="MME"),
)


def test_none_is_the_default_and_without_one_the_first() -> None:
    assert choose(LAPTOP, "input", None).index == 0
    assert choose(LAPTOP, "output", None).index == 1
    assert choose([card(4, "A", outputs=2), card(5, "B", inputs=1)], "input", None).index == 5


@pytest.mark.parametrize(
    "wanted", ["USB Headset", "usb headset", "headset", "USB Headset (Core Audio)", " headset ", 2]
)
def test_a_device_is_found_by_its_name_a_part_of_it_or_its_index(wanted: str | int) -> None:
    assert choose(LAPTOP, "input", wanted).index == 2
    assert choose(LAPTOP, "output", wanted).index == 2


def test_a_whole_name_comes_before_a_part_of_another() -> None:
    devices = [card(0, "Mic", inputs=1), card(1, "Mic Array", inputs=4)]
    assert choose(devices, "input", "mic").index == 0


def test_a_device_that_every_host_api_lists_is_taken_from_the_best() -> None:
    assert choose(WINDOWS, "input", "realtek").index == 2
    assert choose(WINDOWS, "input", "Microphone (Realtek High Definition Audio)").index == 2
    assert choose(WINDOWS, "input", "Microphone (Realtek High Defini (MME)").index == 0


@pytest.mark.parametrize(
    ("devices", "wanted", "text"),
    [
        (
            LAPTOP,
            "airpods",
            "no input device 'airpods'; there are: 0: Built-in Microphone (Core Audio); 2: USB Headset (Core Audio)",
        ),
        (
            LAPTOP,
            1,
            "no input device 1; there are: 0: Built-in Microphone (Core Audio); 2: USB Headset (Core Audio)",
        ),
    ],
)
def test_an_unknown_device_names_the_candidates(
    devices: tuple[DeviceInfo, ...], wanted: str | int, text: str
) -> None:
    with pytest.raises(DeviceNotFound) as caught:
        choose(devices, "input", wanted)
    assert str(caught.value) == text
    assert caught.value.wanted == wanted


@pytest.mark.parametrize("devices", [WINDOWS, (card(0, "Mic", inputs=1), card(1, "Mic", inputs=1))])
def test_an_ambiguous_name_lists_what_it_matches(devices: tuple[DeviceInfo, ...]) -> None:
    with pytest.raises(AmbiguousDevice) as caught:
        choose(devices, "input", "m")
    assert str(caught.value).startswith(
        f"{len(caught.value.candidates)} input devices match 'm', name one or give its index: 0: Mic"
    )


@pytest.mark.parametrize(
    ("direction", "text"), [("input", "there is no microphone"), ("output", "there is no loudspeaker")]
)
def test_a_machine_without_devices_says_so(direction, text) -> None:  # type: ignore[no-untyped-def]  # literals
    with pytest.raises(NoDevice) as caught:
        choose([], direction, None)
    assert str(caught.value) == text


def test_a_lost_device_is_replaced_by_itself_wherever_it_is_listed_now() -> None:
    headset = LAPTOP[2]
    moved = [LAPTOP[0], card(7, "USB Headset", inputs=1, outputs=2)]
    assert replace(moved, "input", "headset", headset).index == 7
    assert replace(LAPTOP[:2], "input", "headset", headset).index == 0
    with pytest.raises(NoDevice):
        replace([LAPTOP[1]], "input", "headset", headset)


def test_who_asked_for_the_default_gets_the_default_of_now() -> None:
    now = [card(0, "Built-in Microphone", inputs=1), card(1, "New", inputs=1, is_default_input=True)]
    assert replace(now, "input", None, LAPTOP[0]).index == 1


def test_formats_begin_with_the_devices_own_rate_in_mono() -> None:
    device = card(0, "Interface", inputs=8, default_rate_hz=44100)
    tried = [(f.rate_hz, f.channels) for f in formats(device, "input", None, None)]
    assert tried[:3] == [(44100, 1), (44100, 2), (44100, 8)]
    assert [rate for rate, count in tried if count == 1] == [44100, 48000, 16000]


def test_formats_keep_to_what_was_asked_for() -> None:
    device = card(0, "Interface", inputs=8)
    assert [(f.rate_hz, f.channels) for f in formats(device, "input", 16000, 3)] == [(16000, 8)]
    assert list(formats(card(0, "Mic", inputs=1), "input", 16000, 3)) == []


def test_alsa_s_own_rate_is_a_guess_of_portaudio_and_comes_last() -> None:
    device = card(0, "default", inputs=32, host_api="ALSA", default_rate_hz=32000)
    assert [f.rate_hz for f in formats(device, "input", None, None) if f.channels == 1] == [
        48000,
        44100,
        16000,
        32000,
    ]
