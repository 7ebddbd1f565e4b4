"""The main job: a file spoken to the embedded server, its answer written to a file, everything told."""

import json
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from rtc_transport.server import Faults, RealtimeServer
from support.command_line import (
    SPEECH,
    read_wav,
    run_command,
    run_command_beside,
    short_speech,
    start_command,
    write_wav,
)
from support.openai_events import check_client_event, check_server_event


def envelope(pcm: NDArray[np.float64], rate_hz: int) -> NDArray[np.float64]:
    """RMS of every 10 ms."""
    block = rate_hz // 100
    blocks = pcm[: len(pcm) // block * block].reshape(-1, block)
    return np.asarray(np.sqrt((blocks**2).mean(axis=1)))


def best_match(said: NDArray[np.float64], heard: NDArray[np.float64]) -> tuple[float, int]:
    """The highest correlation of `said` with a stretch of `heard`, and where that begins."""
    scores = [np.corrcoef(said, heard[i : i + len(said)])[0, 1] for i in range(len(heard) - len(said) + 1)]
    return float(np.nanmax(scores)), int(np.nanargmax(scores))


@pytest.mark.timeout(120)
def test_the_demo(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    reply, report, log = tmp_path / "reply.wav", tmp_path / "call.png", tmp_path / "call.jsonl"
    files = ("--output", reply, "--report", report, "--events", log)
    said, rate_hz = read_wav(SPEECH)
    ended = run_command(capsys, "call", "--loopback", "--input", SPEECH, *files, "--json")
    assert ended.code == 0
    heard, reply_rate_hz = read_wav(reply)
    score, start = best_match(envelope(said, rate_hz), loudness := envelope(heard, reply_rate_hz))
    assert score >= 0.9
    spoken = loudness[start : start + len(said) * 100 // rate_hz]
    assert np.abs(heard).max() < 0.99, "clipped"
    assert longest_run(spoken[20:-20] < 1e-4) < 0.3, "a gap that the speech does not have"

    assert report.read_bytes().startswith(b"\x89PNG")
    told = json.loads(ended.stdout)
    assert (told["outcome"], told["responses"], told["error"]) == ("answered", 1, None)
    assert list(told["connect_seconds"]) == ["key", "signaling", "ice", "dtls", "channel", "session"]
    assert told["sent_seconds"] == pytest.approx(len(said) / rate_hz, abs=0.03)
    assert told["heard_seconds"] == pytest.approx(len(said) / rate_hz, abs=1.5)
    assert told["recorded_seconds"] == pytest.approx(len(heard) / reply_rate_hz, abs=0.001)
    assert told["files"] == {"output": str(reply), "report": str(report), "events": str(log)}
    (latency,) = told["latencies_seconds"]
    assert 0.5 < latency < 3.0
    user, model = told["transcript"]
    assert (user["speaker"], user["text"]) == ("user", None), "no transcript is invented"
    assert model["text"].startswith("(parrot, ")
    check_log(log)
    for word in ("connect", "sent", "heard", "loss", "latency", "model", "output", "report"):
        assert word in ended.stderr


def longest_run(flags: NDArray[np.bool_]) -> float:
    """The longest stretch of true blocks of 10 ms, in seconds."""
    longest = run = 0
    for flag in flags:
        run = run + 1 if flag else 0
        longest = max(longest, run)
    return longest / 100


def check_log(path: Path) -> None:
    """Every line has its time, the times do not go back, and every event of either side is a published one."""
    lines: list[dict[str, Any]] = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert all(set(line) == {"t", "direction", "event"} for line in lines)
    assert [line["t"] for line in lines] == sorted(line["t"] for line in lines)
    types = {direction: [x["event"]["type"] for x in lines if x["direction"] == direction] for direction in
             ("sent", "received", "transport")}  # fmt: skip
    assert types["sent"] == ["session.update"]
    assert types["received"][:2] == ["session.created", "session.updated"]
    assert {"output_audio_buffer.started", "response.done", "output_audio_buffer.stopped"} <= {
        *types["received"]
    }
    assert types["transport"][:2] == ["connection_change", "connection_change"]
    assert "source_ended" in types["transport"]
    for line in lines:
        if line["direction"] == "received":
            check_server_event(line["event"])
        elif line["direction"] == "sent":
            check_client_event(line["event"])


def test_a_file_of_silence_lingers_and_says_so(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    silence = write_wav(tmp_path / "silence.wav", np.zeros(12_000))
    reply = tmp_path / "reply.wav"
    options = ("--linger", 1, "--json")
    ended = run_command(capsys, "call", "--loopback", "--input", silence, "--output", reply, *options)
    assert ended.code == 0
    assert "No answer came within 1 s (--linger) of the last words." in ended.stderr
    told = json.loads(ended.stdout)
    assert (told["outcome"], told["responses"], told["transcript"]) == ("no_answer", 0, [])
    assert told["seconds"] == pytest.approx(1.8, abs=0.8)


def test_the_longest_duration_ends_the_call(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    reply = tmp_path / "reply.wav"
    options = ("--max-duration", 1, "--json")
    ended = run_command(capsys, "call", "--loopback", "--input", SPEECH, "--output", reply, *options)
    assert ended.code == 0
    assert "as --max-duration asks" in ended.stderr
    assert json.loads(ended.stdout)["outcome"] == "max_duration"
    pcm, rate_hz = read_wav(reply)
    assert len(pcm) / rate_hz == pytest.approx(1.0, abs=0.5)


async def test_options_reach_the_service(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-the-only-key")
    session = tmp_path / "session.json"
    session.write_text(
        '{"instructions": "from the file", "output_modalities": ["text"], "max_output_tokens": 7}'
    )
    arguments = ["--input", short_speech(tmp_path / "speech.wav"), "--output", tmp_path / "reply.wav"]
    arguments += [
        "--session",
        session,
        "--voice",
        "cedar",
        "--instructions",
        "Be brief.",
        "--model",
        "gpt-realtime-mini",
    ]
    async with RealtimeServer(keys=["sk-the-only-key"]) as server:
        ended = await run_command_beside(capsys, "call", "--url", server.calls_url, *arguments)
        (call,) = server.calls.values()
        updated = await call.wait_for("session.updated")
    assert ended.code == 0, ended.stderr
    config = updated["session"]
    assert config["instructions"] == "Be brief."
    assert config["audio"]["output"]["voice"] == "cedar"
    assert (config["output_modalities"], config["max_output_tokens"]) == (["text"], 7)
    assert config["model"] == "gpt-realtime-mini"


async def test_an_older_answer_survives_a_call_that_fails(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-wrong")
    speech, reply = short_speech(tmp_path / "speech.wav"), short_speech(tmp_path / "reply.wav", 0.5)
    before = reply.read_bytes()
    async with RealtimeServer(keys=["sk-right"]) as server:
        ended = await run_command_beside(
            capsys, "call", "--url", server.calls_url, "--input", speech, "--output", reply, "--json"
        )
    assert ended.code == 1
    assert ended.error.startswith("connect failed at stage signaling: ")
    assert reply.read_bytes() == before
    error = json.loads(ended.stdout)["error"]
    assert (error["stage"], error["status"]) == ("signaling", 401)
    assert error["message"] == ended.error


@pytest.mark.parametrize("encoding", ["ascii", "utf-8"])
async def test_letters_that_the_output_does_not_have(tmp_path: Path, encoding: str) -> None:
    short_speech(tmp_path / "speech.wav", 0.2)
    arguments = (
        "call",
        "--loopback",
        "--input",
        "speech.wav",
        "--output",
        "größe.wav",
        "--max-duration",
        0,
        "--json",
    )
    process = await start_command(tmp_path, arguments, PYTHONIOENCODING=encoding)
    stdout, stderr = await process.communicate()
    assert (process.returncode, b"Traceback" in stderr) == (0, False)
    assert json.loads(stdout)["files"] == {"output": "größe.wav"}
    assert ("größe" in stdout.decode()) == (encoding == "utf-8")


@pytest.mark.timeout(60)
@pytest.mark.parametrize("signal_name", ["SIGINT", "SIGTERM"])
async def test_ctrl_c_finishes_the_files_and_exits_130(tmp_path: Path, signal_name: str) -> None:
    arguments = [
        "call",
        "--loopback",
        "--input",
        SPEECH,
        "--output",
        "reply.wav",
        "--events",
        "call.jsonl",
        "--json",
    ]
    process = await start_command(tmp_path, arguments)
    assert process.stderr is not None
    while b"speaking" not in (line := await process.stderr.readline()):
        assert line, "it ended before it began"
    process.send_signal(getattr(signal, signal_name))
    stdout, stderr = await process.communicate()
    assert process.returncode == 130
    assert b"Traceback" not in stderr
    assert b"Interrupted; the files are complete up to here." in stderr
    assert json.loads(stdout)["outcome"] == "interrupted"
    read_wav(tmp_path / "reply.wav")
    last = json.loads((tmp_path / "call.jsonl").read_text().splitlines()[-1])
    assert last["event"]["status"] == "disconnected"


async def test_ctrl_c_while_connecting_leaves_nothing(tmp_path: Path) -> None:
    short_speech(tmp_path / "speech.wav")
    async with RealtimeServer(faults=Faults(never_answer=True)) as server:
        arguments = [
            "call",
            "--url",
            server.calls_url,
            "--input",
            "speech.wav",
            "--output",
            "reply.wav",
            "--json",
        ]
        process = await start_command(tmp_path, arguments)
        assert process.stderr is not None
        assert await process.stderr.readline() == b"connecting\n"
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGINT)
        stdout, stderr = await process.communicate()
    assert process.returncode == 130
    assert b"Traceback" not in stderr
    told = json.loads(stdout)
    assert (told["outcome"], told["files"]) == ("interrupted", {})
    assert not (tmp_path / "reply.wav").exists()
