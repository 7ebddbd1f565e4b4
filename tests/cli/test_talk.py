"""``rtc-transport talk`` without a sound card: on fake ones, and what it says when something is missing."""

import asyncio
import io
import json
import wave
from pathlib import Path

import pytest
from rich.console import Console

from rtc_audio.devices.backend import StreamPort
from rtc_audio.devices.hub import DeviceHub
from rtc_audio.devices.types import StreamRequest
from rtc_audio.errors import DeviceBusy, PortAudioMissing
from rtc_transport.cli.minutes import Line
from rtc_transport.cli.summary import Summary
from rtc_transport.cli.talk import TalkOptions, device_named, without_turn_detection
from rtc_transport.events import to_wire
from rtc_transport.session import SessionConfig
from support.command_line import run_command
from support.fake_audio import LAPTOP, FakeCards, FakeStream, VirtualWorker, card
from support.transports import eventually

WITHOUT = "; without devices: rtc-transport call --input FILE --output FILE"


def plug_in(monkeypatch: pytest.MonkeyPatch, hub: DeviceHub) -> None:
    for module in ("microphone", "speaker"):
        monkeypatch.setattr(f"rtc_audio.devices.{module}.default_hub", lambda: hub)


@pytest.fixture
def cards(monkeypatch: pytest.MonkeyPatch) -> FakeCards:
    cards = FakeCards(*LAPTOP)
    plug_in(monkeypatch, cards.hub)
    return cards


def test_a_conversation_ends_when_its_time_is_up(
    capsys: pytest.CaptureFixture[str], cards: FakeCards, tmp_path: Path
) -> None:
    record, events, report = (tmp_path / name for name in ("call.wav", "call.jsonl", "call.png"))
    ended = run_command(
        capsys,
        *("talk", "--loopback", "--max-duration", 1.5, "--json"),
        *("--record", record, "--events", events, "--report", report),
    )
    assert ended.code == 0
    summary = json.loads(ended.stdout)
    assert summary["outcome"] == "max_duration"
    assert summary["files"] == {"record": str(record), "report": str(report), "events": str(events)}
    assert summary["stats"]["output_latency_ms"] > 0
    assert ended.stderr.splitlines()[:2] == ["connecting", "listening to you"]
    assert "as --max-duration asks." in ended.stderr
    with wave.open(str(record)) as file:
        recorded_seconds = file.getnframes() / file.getframerate()
    assert recorded_seconds > 1.0
    assert summary["recorded_seconds"] == pytest.approx(recorded_seconds, abs=0.001)
    assert f"call.wav ({recorded_seconds:.1f} s)" in ended.stderr.replace("\n", "")
    assert report.read_bytes().startswith(b"\x89PNG")
    types = [json.loads(line)["event"]["type"] for line in events.read_text().splitlines()]
    assert "session.updated" in types
    assert not cards.open_streams


def test_devices_are_taken_by_name_or_index(capsys: pytest.CaptureFixture[str], cards: FakeCards) -> None:
    ended = run_command(
        capsys,
        *("talk", "--loopback", "--max-duration", 0.3, "--input-device", "headset", "--output-device", 1),
    )
    assert ended.code == 0
    assert {request.device.name for request in cards.requests} == {"USB Headset", "Built-in Speakers"}
    assert device_named("--output-device", "3") == 3
    assert device_named("--output-device", "usb") == "usb"
    assert device_named("--output-device", None) is None


def test_a_microphone_that_is_gone_is_said_and_that_it_is_back(
    capsys: pytest.CaptureFixture[str], cards: FakeCards
) -> None:
    async def pull_the_plug() -> None:
        await eventually(lambda: len(cards.open_streams) == 2)  # both: the call is up
        await asyncio.sleep(0.3)
        cards.unplug("USB Headset")
        cards.unplug("Built-in Microphone")
        await asyncio.sleep(0.7)
        cards.plug(LAPTOP[2])

    open_plainly = cards.open

    def open_and_pull(request: StreamRequest, port: StreamPort) -> FakeStream:
        if not pulling:
            pulling.append(asyncio.get_running_loop().create_task(pull_the_plug()))
        return open_plainly(request, port)

    pulling: list[asyncio.Task[None]] = []
    cards.open = open_and_pull  # type: ignore[method-assign]  # when the call has begun
    ended = run_command(capsys, *("talk", "--loopback", "--max-duration", 6, "--input-device", "headset"))
    lines = ended.stderr.splitlines()
    gone = lines.index("microphone lost: USB Headset: the stream has ended")
    assert "no microphone at the moment" in lines[gone:]
    back = lines.index("microphone restored: USB Headset: it works again")
    assert "listening to you" in lines[back - 1 :]


def test_no_microphone_is_said_with_what_works_without(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    plug_in(monkeypatch, FakeCards(card(0, "Speakers", outputs=2)).hub)
    ended = run_command(capsys, "talk", "--loopback")
    assert (ended.code, ended.error) == (1, f"there is no microphone{WITHOUT}")


def test_no_portaudio_is_said_with_the_command_that_installs_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing() -> FakeCards:
        raise PortAudioMissing("run 'apt-get install libportaudio2'")

    plug_in(monkeypatch, DeviceHub(missing, VirtualWorker(FakeCards())))
    ended = run_command(capsys, "talk", "--loopback", "--json")
    assert ended.code == 1
    assert ended.error == (
        "microphones and loudspeakers need PortAudio, which is not installed: "
        f"run 'apt-get install libportaudio2'{WITHOUT}"
    )
    assert json.loads(ended.stdout)["error"]["message"] == ended.error


def test_an_unknown_device_is_said_with_those_there_are(
    capsys: pytest.CaptureFixture[str], cards: FakeCards
) -> None:
    ended = run_command(capsys, "talk", "--loopback", "--input-device", "Gramophone")
    assert ended.code == 1
    assert "Gramophone" in ended.error
    assert "USB Headset" in ended.error


def test_a_busy_loudspeaker_ends_the_call_and_leaves_no_microphone_open(
    capsys: pytest.CaptureFixture[str], cards: FakeCards
) -> None:
    cards.refusals["Built-in Speakers"] = [
        DeviceBusy("Built-in Speakers", "in use by another program") for _ in range(4)
    ]
    ended = run_command(capsys, "talk", "--loopback")
    assert (ended.code, ended.error) == (1, "cannot open Built-in Speakers: in use by another program")
    assert not cards.open_streams


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--loopback", "--echo", "loud"], "--echo loud: need one of auto, cancel, gate, off, webrtc"),
        (["--loopback", "--url", "http://127.0.0.1:1/"], "--loopback and --url exclude each other"),
        (
            [],
            "no key: set OPENAI_API_KEY, or add --loopback to call an embedded server, which needs none",
        ),
        (["--loopback", "--push-to-talk"], "--push-to-talk needs a terminal to read the space key from"),
        (
            ["--loopback", "--output-device", " "],
            "--output-device needs (part of) a name or an index; rtc-transport devices lists them",
        ),
        (["--loopback", "--record", "a", "--report", "a"], "--record and --report name the same file"),
    ],
)
def test_wrong_usage(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    message: str,
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    ended = run_command(capsys, "talk", *arguments)
    assert (ended.code, ended.error) == (2, message)


def test_a_record_that_cannot_be_written_is_said_before_the_call(
    capsys: pytest.CaptureFixture[str], cards: FakeCards, tmp_path: Path
) -> None:
    ended = run_command(capsys, "talk", "--loopback", "--record", tmp_path / "nowhere" / "call.wav")
    assert ended.code == 1
    assert str(tmp_path / "nowhere" / "call.wav") in ended.error
    assert not cards.requests


def test_push_to_talk_switches_turn_detection_off_and_leaves_the_rest() -> None:
    session = SessionConfig.coerce({"instructions": "Be brief.", "audio": {"output": {"voice": "ash"}}})
    assert to_wire(without_turn_detection(session)) == {
        "type": "realtime",
        "instructions": "Be brief.",
        "audio": {"output": {"voice": "ash"}, "input": {"turn_detection": None}},
    }
    options = TalkOptions(session=session, push_to_talk=True)
    assert options.keys == "space begin and end your turn · m mute · i interrupt · q quit"


def test_afterwards_gaps_are_told_as_sums_and_nothing_twice() -> None:
    told = io.StringIO()
    stats = {"input_lost_ms": 0.4, "output_lost_ms": 180.0, "echo_return_loss_db": 0.3}
    summary = Summary(
        outcome="hung_up",
        peer="the embedded server",
        seconds=3.0,
        connect_seconds={"signaling": 0.1},
        stats=stats,
        lines=[Line("model", "Hello")],
        lines_told=True,
    )
    summary.print(Console(file=told, width=80))
    lines = told.getvalue().splitlines()
    assert "gaps      180 ms in the loudspeaker" in lines
    assert not any("echo" in line or "Hello" in line for line in lines)
    assert summary.as_dict()["transcript"], "machines read it here only"
