"""What PortAudio says, in the words of this room; against a double of the sounddevice module."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import rtc_audio.devices
from rtc_audio.devices.backend import FormatRefused
from rtc_audio.devices.hub import DeviceHub
from rtc_audio.devices.portaudio import PortAudioBackend, install_command
from rtc_audio.devices.types import Direction, StreamFormat, StreamRequest
from rtc_audio.errors import DeviceBusy, DeviceError, DeviceRefused, PortAudioMissing
from rtc_audio.ports import Pcm
from support.command_line import environment
from support.fake_audio import card


class PortAudioError(Exception):
    pass


class RawStream:
    """Keeps what it was opened with; `fail_open` and `fail_start` raise."""

    latency = 0.02
    active = True
    fail_open: Exception | None = None
    fail_start: Exception | None = None
    log: list[str]

    def __init__(self, **options: Any) -> None:
        if self.fail_open is not None:
            raise self.fail_open
        self.options = options
        self.log = []
        streams.append(self)

    def start(self) -> None:
        self.log.append("start")
        if self.fail_start is not None:
            raise self.fail_start

    def abort(self) -> None:
        self.log.append("abort")

    def close(self) -> None:
        self.log.append("close")


streams: list[RawStream] = []


def device(index: int, name: str, hostapi: int, inputs: int, outputs: int) -> dict[str, Any]:
    latencies = {
        f"default_{kind}_{way}_latency": seconds
        for kind, seconds in (("low", 0.01), ("high", 0.1))
        for way in ("input", "output")
    }
    channels = {"max_input_channels": inputs, "max_output_channels": outputs}
    return {
        "index": index,
        "name": name,
        "hostapi": hostapi,
        "default_samplerate": 44100.0,
        **channels,
        **latencies,
    }


@pytest.fixture
def sounddevice(monkeypatch: pytest.MonkeyPatch) -> Any:
    calls: list[str] = []
    streams.clear()
    module = SimpleNamespace(
        PortAudioError=PortAudioError,
        RawInputStream=type("RawInputStream", (RawStream,), {}),
        RawOutputStream=type("RawOutputStream", (RawStream,), {}),
        WasapiSettings=lambda auto_convert: ("wasapi", auto_convert),
        default=SimpleNamespace(device=[0, 1], _default_device=(0, 1)),
        query_hostapis=lambda: (
            {"name": "MME", "default_input_device": 0, "default_output_device": 1},
            {"name": "Windows WASAPI", "default_input_device": 2, "default_output_device": -1},
        ),
        query_devices=lambda: [
            device(0, "Mic", 0, 2, 0),
            device(1, "Out", 0, 0, 2),
            device(2, "Mic", 1, 2, 0),
        ],
        _terminate=lambda: calls.append("terminate"),
        _initialize=lambda: calls.append("initialize"),
        calls=calls,
    )
    monkeypatch.setitem(sys.modules, "sounddevice", module)
    return module


class Port:
    def __init__(self) -> None:
        self.blocks: list[tuple[Pcm, float, bool]] = []
        self.finished = 0

    def on_block(self, block: memoryview, now: float, at_seconds: float, flagged: bool, /) -> None:
        self.blocks.append((np.frombuffer(bytes(block), np.float32).reshape(-1, 2), at_seconds, flagged))
        if not memoryview(block).readonly:
            block[:] = np.full(960, 0.5, np.float32).tobytes()

    def on_finished(self) -> None:
        self.finished += 1


def request(direction: Direction = "input", api: str = "MME", channels: int = 2) -> StreamRequest:
    latencies = {"low_input_latency_seconds": 0.03, "low_output_latency_seconds": 0.04}
    info = card(3, "Mic", inputs=2, outputs=2, host_api=api, **latencies)
    return StreamRequest(info, direction, StreamFormat(48000, channels), "low")


def test_devices_are_listed_with_wasapis_defaults(sounddevice: Any) -> None:
    devices = PortAudioBackend().devices()
    assert [(d.index, d.name, d.host_api, d.inputs, d.outputs, d.default_rate_hz) for d in devices] == [
        (0, "Mic", "MME", 2, 0, 44100),
        (1, "Out", "MME", 0, 2, 44100),
        (2, "Mic", "Windows WASAPI", 2, 0, 44100),
    ]
    assert [d.index for d in devices if d.is_default_input] == [2]
    assert devices[0].high_input_latency_seconds == 0.1


def test_a_default_that_the_application_has_set_holds(sounddevice: Any) -> None:
    sounddevice.default.device = [0, 1]
    sounddevice.default._default_device = (5, 6)
    devices = PortAudioBackend().devices()
    assert [d.index for d in devices if d.is_default_input] == [0]
    assert [d.index for d in devices if d.is_default_output] == [1]


SEEN_BY_ANOTHER_PROCESS = """
default = type("Default", (), {"device": (1, 0)})
def query_hostapis():
    print("noise of a driver")
    return ({"name": "Windows WASAPI", "default_input_device": 0, "default_output_device": 1},)
def query_devices():
    device = {
        "hostapi": 0, "max_input_channels": 1, "max_output_channels": 2, "default_samplerate": 48000.0,
        "default_low_input_latency": 0.01, "default_high_input_latency": 0.02,
        "default_low_output_latency": 0.01, "default_high_output_latency": 0.02,
    }
    return tuple({"index": index, "name": name, **device} for index, name in enumerate(("Headset", "Laptop")))
"""


def test_another_process_sees_the_devices_as_they_are_now(
    sounddevice: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "sounddevice.py").write_text(SEEN_BY_ANOTHER_PROCESS)
    monkeypatch.syspath_prepend(tmp_path)
    devices = PortAudioBackend().look()
    assert [(d.name, d.host_api, d.is_default_input, d.is_default_output) for d in devices] == [
        ("Headset", "Windows WASAPI", True, False),
        ("Laptop", "Windows WASAPI", False, True),
    ]
    assert sounddevice.calls == [], "nothing happens in this process"


@pytest.mark.parametrize("text", ["raise OSError('no PortAudio')", "def query_hostapis(): return ()"])
def test_another_process_that_sees_nothing_is_a_device_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str
) -> None:
    (tmp_path / "sounddevice.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(DeviceError, match="cannot be looked at: CalledProcessError"):
        PortAudioBackend().look()


def test_a_packed_application_cannot_ask_another_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    with pytest.raises(DeviceError, match="no interpreter"):
        PortAudioBackend().look()


def test_refresh_begins_anew(sounddevice: Any) -> None:
    PortAudioBackend().refresh()
    assert sounddevice.calls == ["terminate", "initialize"]


def test_a_stream_is_opened_in_blocks_of_10_ms_and_aborted(sounddevice: Any) -> None:
    port = Port()
    stream = PortAudioBackend().open(request(api="Windows WASAPI"), port)
    (raw,) = streams
    options = {
        key: raw.options[key] for key in ("device", "samplerate", "channels", "blocksize", "dtype", "latency")
    }
    assert options == {
        "device": 3, "samplerate": 48000, "channels": 2, "blocksize": 480, "dtype": "float32", "latency": "low",
    }  # fmt: skip
    assert raw.options["extra_settings"] == ("wasapi", True)
    raw.options["finished_callback"]()
    assert port.finished == 1
    assert (stream.active, stream.latency_seconds) == (True, 0.02)
    stream.close()
    assert raw.log == ["start", "abort", "close"]


def times(current: float, adc: float = 0.0, dac: float = 0.0) -> Any:
    return SimpleNamespace(currentTime=current, inputBufferAdcTime=adc, outputBufferDacTime=dac)


@pytest.mark.parametrize(
    ("stamps", "age"),
    [
        (times(100.0, adc=99.98), 0.02),
        (times(0.0, adc=0.0), 0.03),
        (times(100.0, adc=0.0), 0.03),
        (times(1.0, adc=2.0), 0.03),
    ],
)
def test_recorded_blocks_come_with_their_time_or_with_the_usual_latency(
    sounddevice: Any, monkeypatch: pytest.MonkeyPatch, stamps: Any, age: float
) -> None:
    monkeypatch.setattr("time.monotonic", lambda: 1000.0)
    port = Port()
    PortAudioBackend().open(request(), port)
    pcm = np.arange(960, dtype=np.float32).reshape(480, 2)
    status = SimpleNamespace(input_overflow=True)
    streams[0].options["callback"](pcm.tobytes(), 480, stamps, status)
    ((block, at, flagged),) = port.blocks
    np.testing.assert_array_equal(block, pcm)
    assert at == pytest.approx(1000.0 - age)
    assert flagged


@pytest.mark.parametrize(
    ("stamps", "ahead"), [(times(100.0, dac=100.05), 0.05), (times(100.0, dac=0.0), 0.04)]
)
def test_played_blocks_are_written_in_place(
    sounddevice: Any, monkeypatch: pytest.MonkeyPatch, stamps: Any, ahead: float
) -> None:
    monkeypatch.setattr("time.monotonic", lambda: 1000.0)
    port, memory = Port(), bytearray(4 * 960)
    PortAudioBackend().open(request("output"), port)
    streams[0].options["callback"](memory, 480, stamps, SimpleNamespace(output_underflow=False))
    assert set(np.frombuffer(memory, np.float32)) == {0.5}
    assert port.blocks[0][1] == pytest.approx(1000.0 + ahead)


ERRORS = [
    (
        PortAudioError("Invalid sample rate", -9997),
        FormatRefused,
        "cannot open Mic: Invalid sample rate (48000 Hz, 2 ch)",
    ),
    (
        PortAudioError("Invalid number of channels", -9998),
        FormatRefused,
        "Invalid number of channels (48000 Hz, 2 ch)",
    ),
    (PortAudioError("Invalid device", -9996), FormatRefused, "Invalid device (48000 Hz, 2 ch)"),
    (
        PortAudioError("Error opening RawInputStream: Device unavailable", -9985),
        DeviceBusy,
        "cannot open Mic: in use by another program or unplugged: Device unavailable",
    ),
    (
        PortAudioError("Unanticipated host error", -9999, (1, -16, "Device or resource busy")),
        DeviceBusy,
        "Unanticipated host error: Device or resource busy",
    ),
    (
        PortAudioError("Unanticipated host error", -9999, (1, 10, "opened in exclusive mode")),
        DeviceBusy,
        "opened in exclusive mode",
    ),
    (
        PortAudioError("Unanticipated host error", -9999, (1, -13, "Permission denied")),
        DeviceRefused,
        "Unanticipated host error: Permission denied",
    ),
    (ValueError("No input device matching 3"), DeviceRefused, "cannot open Mic: No input device matching 3"),
]


@pytest.mark.parametrize(
    ("when", "raised", "expected", "text"),
    [("fail_open", *case) for case in ERRORS]
    + [("fail_start", *case) for case in ERRORS if isinstance(case[0], PortAudioError)],
)
def test_errors_of_portaudio_are_translated_and_nothing_stays_open(
    sounddevice: Any, when: str, raised: Exception, expected: type[Exception], text: str
) -> None:
    setattr(sounddevice.RawInputStream, when, raised)
    with pytest.raises(DeviceRefused) as caught:
        PortAudioBackend().open(request(), Port())
    assert type(caught.value) is expected
    assert text in str(caught.value)
    assert caught.value.__cause__ is raised
    assert all(stream.log == ["start", "close"] for stream in streams)


def test_a_list_that_cannot_be_had_is_an_error(sounddevice: Any) -> None:
    def fail() -> None:
        raise PortAudioError("Internal PortAudio error", -9986)

    sounddevice._initialize = sounddevice.query_hostapis = fail
    with pytest.raises(DeviceError, match=r"^the devices cannot be listed: Internal PortAudio error$"):
        PortAudioBackend().devices()
    with pytest.raises(DeviceError, match=r"^the devices cannot be listed anew: Internal PortAudio error$"):
        PortAudioBackend().refresh()


def test_without_portaudio_the_error_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    monkeypatch.setattr(rtc_audio.devices, "default_hub", lambda: DeviceHub(PortAudioBackend))
    with pytest.raises(PortAudioMissing) as caught:
        rtc_audio.devices.list_devices()
    assert str(caught.value) == (
        "microphones and loudspeakers need PortAudio, which is not installed: run 'pip install sounddevice'"
    )


@pytest.mark.parametrize(
    ("tool", "user", "command"),
    [
        ("apt-get", 1000, "run 'sudo apt-get install libportaudio2 libasound2-plugins'"),
        ("apt-get", 0, "run 'apt-get install libportaudio2 libasound2-plugins'"),
        ("dnf", 1000, "run 'sudo dnf install portaudio'"),
        ("brew", 501, "run 'brew install portaudio'"),
        ("", 1000, "install the package of your system that is called portaudio or libportaudio2"),
    ],
)
def test_the_command_fits_the_system(
    monkeypatch: pytest.MonkeyPatch, tool: str, user: int, command: str
) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}" if name == tool else None)
    monkeypatch.setattr("os.geteuid", lambda: user, raising=False)
    assert install_command() == command


HANGING = """
import atexit, threading

class PortAudioError(Exception): pass
class default: device = _default_device = (0, 0)

class RawInputStream:
    latency, active = 0.01, True
    def __init__(self, **options): pass
    def start(self): pass
    def abort(self): threading.Event().wait()
    def close(self): pass

def query_hostapis(): return [{"name": "ALSA"}]
def query_devices():
    latencies = {f"default_{a}_{b}_latency": 0.01 for a in ("low", "high") for b in ("input", "output")}
    device = {"index": 0, "name": "mic", "hostapi": 0, "max_input_channels": 1, "max_output_channels": 0}
    return [{**device, **latencies, "default_samplerate": 48000.0}]

def _exit_handler(): threading.Event().wait()
atexit.register(_exit_handler)
"""

OPEN_AND_CLOSE = """
import asyncio
from rtc_audio.devices import Microphone

async def main():
    microphone = Microphone()
    await microphone.start()
    await microphone.aclose()

asyncio.run(main())
print("done")
"""


def test_a_driver_that_never_lets_go_of_a_stream_does_not_keep_the_program_from_ending(
    tmp_path: Path,
) -> None:
    """PortAudio waits for the thread of a stream whose sound server has died, and at the exit once more."""
    (tmp_path / "sounddevice.py").write_text(HANGING)
    ended = subprocess.run(
        [sys.executable, "-c", OPEN_AND_CLOSE],
        env={**environment(), "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])},
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    assert ended.stdout == "done\n"
    assert "the driver does not close it" in ended.stderr
