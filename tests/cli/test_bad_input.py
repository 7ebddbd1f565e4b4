"""Whatever is wrong, a user sees one line that names the path or the stage, and exit code 1; nothing hangs or leaks."""

import asyncio
import json
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from rtc_transport.server import BadText, Failure, Faults, Output, Prompt, RealtimeServer
from rtc_transport.server.replies import Parrot
from support.command_line import Ended, read_wav, run_command, run_command_beside, short_speech
from support.raw_http import http_response, raw_server

Run = Callable[..., Ended]


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test-key")


@pytest.fixture
def speech(tmp_path: Path) -> Path:
    return short_speech(tmp_path / "speech.wav")


async def call(
    capsys: pytest.CaptureFixture[str], speech: Path, url: str, *options: object
) -> tuple[Ended, Path]:
    """Calls `url`; afterwards no thread of ours and no task is left, and no key was shown."""
    output = speech.parent / "reply.wav"
    arguments = ["call", "--input", speech, "--output", output, "--url", url, *options]
    ended = await run_command_beside(capsys, *arguments)
    assert "sk-test-key" not in ended.stderr + ended.stdout
    return ended, output


# ---- files


def test_a_missing_input(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "missing.wav"
    ended = run_command(capsys, "call", "--loopback", "--input", path, "--output", tmp_path / "reply.wav")
    assert ended.code == 1
    assert ended.error == f"cannot read {path}: no such file"
    assert not (tmp_path / "reply.wav").exists()


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"", "the file is empty"), (b"this is no sound" * 100, "")],
    ids=["empty", "text"],
)
def test_an_input_that_holds_no_sound(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, content: bytes, reason: str
) -> None:
    path = tmp_path / "noise.wav"
    path.write_bytes(content)
    ended = run_command(capsys, "call", "--loopback", "--input", path, "--output", tmp_path / "reply.wav")
    assert ended.code == 1
    assert ended.error.startswith(f"cannot read {path}: {reason}")


def test_a_folder_as_input(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    ended = run_command(capsys, "call", "--loopback", "--input", tmp_path, "--output", tmp_path / "reply.wav")
    assert ended.code == 1
    assert ended.error.startswith(f"cannot read {tmp_path}: ")


@pytest.mark.parametrize("option", ["--output", "--report", "--events"])
def test_an_unwritable_file_is_known_before_the_call(
    capsys: pytest.CaptureFixture[str], speech: Path, option: str
) -> None:
    path = speech.parent / "nowhere" / "file"
    output = [] if option == "--output" else ["--output", speech.parent / "reply.wav"]
    ended = run_command(capsys, "call", "--loopback", "--input", speech, *output, option, path)
    assert ended.code == 1
    assert ended.error == f"cannot write {path}: its folder does not exist"
    assert "connecting" not in ended.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full, a disk that is always full")
@pytest.mark.parametrize("option", ["--output", "--report", "--events"])
def test_a_full_disk(capsys: pytest.CaptureFixture[str], speech: Path, option: str) -> None:
    output = [] if option == "--output" else ["--output", speech.parent / "reply.wav"]
    ended = run_command(
        capsys,
        *("call", "--loopback", "--input", speech, *output, option, "/dev/full"),
        *("--max-duration", 0.5, "--json"),
    )
    assert ended.code == 1
    assert ended.error == "cannot write /dev/full: no space left on device"
    told = json.loads(ended.stdout)
    assert (told["outcome"], told["error"]["message"]) == ("failed", ended.error)
    if option != "--output":
        assert told["stats"]["packets_sent"] > 0, "the call went on to its end"
        read_wav(speech.parent / "reply.wav")


# ---- the way to the service


@pytest.mark.parametrize(
    "url",
    [
        "127.0.0.1:9/v1/realtime/calls",
        "ws://127.0.0.1:9/v1",
        "http://",
        "http://api.openai.com/v1/realtime/calls",
    ],
)
async def test_a_wrong_url(capsys: pytest.CaptureFixture[str], speech: Path, url: str) -> None:
    ended, output = await call(capsys, speech, url)
    assert ended.code == 1
    assert ended.error.startswith("connect failed at stage signaling: ")
    assert not output.exists()


async def test_plain_http_is_allowed_by_an_option(capsys: pytest.CaptureFixture[str], speech: Path) -> None:
    ended, _ = await call(capsys, speech, "http://voice.example/v1/realtime/calls")
    assert "--allow-plain-http" in ended.error
    minted = await run_command_beside(capsys, "keys", "--base-url", "http://voice.example/v1")
    assert (minted.code, "--allow-plain-http" in minted.error) == (1, True)


async def test_a_refused_connection(capsys: pytest.CaptureFixture[str], speech: Path) -> None:
    server = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    ended, _ = await call(capsys, speech, f"http://127.0.0.1:{port}/v1/realtime/calls")
    assert ended.code == 1
    assert ended.error.startswith("connect failed at stage signaling: ")
    assert f"127.0.0.1:{port}" in ended.error


@pytest.mark.parametrize("body", ["json", "html", "empty"])
@pytest.mark.parametrize("status", [401, 403, 404, 429, 503])
async def test_a_refusal(capsys: pytest.CaptureFixture[str], speech: Path, status: int, body: str) -> None:
    async with RealtimeServer(faults=Faults(status=status, body=body)) as server:  # type: ignore[arg-type]  # one of them
        ended, _ = await call(capsys, speech, server.calls_url)
    assert ended.code == 1
    assert ended.error.startswith("connect failed at stage signaling: ")
    assert str(status) in ended.error
    assert "<html" not in ended.error
    if body == "json":
        assert f"Refused on purpose with status {status}." in ended.error


@pytest.mark.parametrize("body", ["", "<html><title>Welcome</title></html>", '{"ok": true}'])
async def test_an_answer_that_is_no_sdp(capsys: pytest.CaptureFixture[str], speech: Path, body: str) -> None:
    async with raw_server(http_response(201, body)) as server:
        ended, _ = await call(capsys, speech, f"{server.url}/v1/realtime/calls")
    assert ended.code == 1
    assert ended.error.startswith("connect failed at stage signaling: ")
    assert "SDP" in ended.error


# ---- the call


@pytest.mark.parametrize(
    ("faults", "stage"),
    [
        (Faults(no_channel=True), "signaling|channel"),
        (Faults(tcp_only=True), "signaling|ice"),
        (Faults(never_answer=True), "signaling"),
        (Faults(never_open=True), "channel"),
        (Faults(no_acknowledgement=True), "session"),
        (Faults(reject_update="The voice does not exist."), "session"),
    ],
    ids=["no channel", "tcp only", "never answers", "never opens", "no acknowledgement", "rejected"],
)
async def test_a_connect_that_cannot_be(
    capsys: pytest.CaptureFixture[str], speech: Path, faults: Faults, stage: str
) -> None:
    threads = threading.active_count()
    async with RealtimeServer(faults=faults) as server:
        ended, _ = await call(capsys, speech, server.calls_url, "--timeout", 2)
    assert ended.code == 1
    assert ended.error.startswith(tuple(f"connect failed at stage {name}: " for name in stage.split("|")))
    assert len(ended.stderr.splitlines()) == 2, "connecting, and the error"
    if faults.reject_update:
        assert faults.reject_update in ended.error
    assert threading.active_count() <= threads + 6, "only the shared workers may have been added"


@pytest.mark.parametrize(
    "faults",
    [Faults(hang_up_after_seconds=0.8), Faults(close_channel_after_seconds=0.8)],
    ids=["all", "channel"],
)
async def test_a_server_that_leaves_mid_call_loses_nothing_recorded(
    capsys: pytest.CaptureFixture[str], speech: Path, faults: Faults
) -> None:
    async with RealtimeServer(faults=faults) as server:
        ended, output = await call(capsys, speech, server.calls_url)
    assert ended.code == 1
    assert ended.error.startswith("the connection was lost: ")
    pcm, rate_hz = read_wav(output)
    assert len(pcm) / rate_hz == pytest.approx(0.8, abs=0.5)


async def test_garbage_on_the_channel_does_not_end_the_call(
    capsys: pytest.CaptureFixture[str], speech: Path
) -> None:
    garbage = (b"\x00\x01\x02", "{", BadText("not UTF-8"), "[1, 2]", '{"type": 7}')
    async with RealtimeServer(faults=Faults(garbage=garbage)) as server:
        ended, _ = await call(capsys, speech, server.calls_url, "--max-duration", 1.5)
    assert ended.code == 0
    assert "Traceback" not in ended.stderr


async def test_a_response_that_fails_is_a_failed_call(
    capsys: pytest.CaptureFixture[str], speech: Path
) -> None:
    class Broke(Parrot):
        def respond(self, prompt: Prompt) -> Sequence[Output]:
            return [Failure("insufficient_quota", "You exceeded your current quota.")]

    async with RealtimeServer(reply=Broke()) as server:
        ended, _ = await call(capsys, speech, server.calls_url)
    assert ended.code == 1
    assert ended.error == "the response failed: You exceeded your current quota."
