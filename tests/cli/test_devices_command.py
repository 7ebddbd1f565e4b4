"""``rtc-transport devices``: what there is, the defaults marked; what is missing, with what installs it."""

import json

import pytest

from rtc_audio.devices import DeviceInfo
from rtc_audio.errors import PortAudioMissing
from rtc_transport.cli import devices as command
from support.command_line import run_command
from support.fake_audio import LAPTOP, card


def use(monkeypatch: pytest.MonkeyPatch, *devices: DeviceInfo) -> None:
    monkeypatch.setattr(command, "list_devices", lambda: list(devices))


def test_a_table_of_80_columns_marks_the_defaults(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "Microphone Array (Intel® Smart Sound Technology for Digital Microphones) " * 2
    long = card(12, name, inputs=4, host_api="Windows WASAPI")
    use(monkeypatch, *LAPTOP, long)
    ended = run_command(capsys, "devices")
    assert ended.code == 0
    lines = ended.stdout.splitlines()
    assert max(map(len, lines)) <= 80
    rows = [line.split() for line in lines]
    assert rows[0] == ["index", "name", "system", "in", "out", "Hz"]
    assert rows[1] == ["0", "Built-in", "Microphone", "Core", "Audio", "1*", "–", "48000"]
    assert rows[2] == ["1", "Built-in", "Speakers", "Core", "Audio", "–", "2*", "48000"]
    assert rows[3] == ["2", "USB", "Headset", "Core", "Audio", "1", "2", "48000"]
    assert "".join(ended.stdout.split()).count("Intel®SmartSound") == 2, "long names are folded, not cut"
    assert rows[-1] == ["*", "the", "default"]


def test_json_has_all_there_is_to_know(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch, *LAPTOP)
    ended = run_command(capsys, "devices", "--json")
    told = json.loads(ended.stdout)["devices"]
    assert [device["name"] for device in told] == ["Built-in Microphone", "Built-in Speakers", "USB Headset"]
    assert (told[0]["is_default_input"], told[0]["host_api"], told[2]["outputs"]) == (True, "Core Audio", 2)


@pytest.mark.parametrize("options", [(), ("--json",)])
def test_no_device_is_said_and_is_no_failure(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...]
) -> None:
    use(monkeypatch)
    ended = run_command(capsys, "devices", *options)
    assert ended.code == 0
    assert ended.stderr.strip() == (
        "no microphone and no loudspeaker on this machine; calls from and to files work without"
    )
    assert ended.stdout == ('{"devices": []}\n' if options else "")


def test_without_portaudio_the_one_line_says_what_installs_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> list[DeviceInfo]:
        raise PortAudioMissing("run 'sudo apt-get install libportaudio2 libasound2-plugins'")

    monkeypatch.setattr(command, "list_devices", fail)
    ended = run_command(capsys, "devices")
    assert ended.code == 1
    assert ended.error == (
        "microphones and loudspeakers need PortAudio, which is not installed: "
        "run 'sudo apt-get install libportaudio2 libasound2-plugins'"
    )
