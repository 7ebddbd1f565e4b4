"""`serve` and `keys`, as processes of their own, used together."""

import asyncio
import json
import signal
import socket
from pathlib import Path
from typing import Any

import pytest

from support.command_line import Ended, run_command, run_command_beside, short_speech, start_command

pytestmark = pytest.mark.timeout(60)


async def read_event(process: asyncio.subprocess.Process, type_: str) -> dict[str, Any]:
    """The next line of that type on stdout; others are skipped."""
    assert process.stdout is not None
    while line := await process.stdout.readline():
        event: dict[str, Any] = json.loads(line)
        if event["type"] == type_ or event.get("event", {}).get("type") == type_:
            return event
    raise AssertionError(f"the server ended without {type_}")


async def end(process: asyncio.subprocess.Process) -> Ended:
    process.send_signal(signal.SIGINT)
    stdout, stderr = await process.communicate()
    assert process.returncode is not None
    return Ended(process.returncode, stdout.decode(), stderr.decode())


async def test_a_call_to_the_served_address_with_a_minted_key(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = await start_command(tmp_path, ["serve", "--port", 0, "--key", "sk-right", "--json"])
    listening = await read_event(server, "listening")

    monkeypatch.setenv("OPENAI_API_KEY", "sk-right")
    options = ("--base-url", listening["url"], "--expires-after", 60, "--instructions", "from the key")
    minted = await run_command_beside(capsys, "keys", *options)
    assert minted.code == 0
    key = minted.stdout.strip()
    assert key.startswith("ek_")
    assert key not in minted.stderr
    assert "good for 60 s" in minted.stderr or "good for 59 s" in minted.stderr

    monkeypatch.setenv("OPENAI_API_KEY", key)
    files = ("--input", short_speech(tmp_path / "in.wav"), "--output", tmp_path / "out.wav")
    called = await run_command_beside(capsys, "call", "--url", listening["calls_url"], *files, "--json")
    assert called.code == 0, called.stderr
    assert json.loads(called.stdout)["outcome"] == "answered"
    created = await read_event(server, "session.created")
    assert created["event"]["session"]["instructions"] == "from the key"
    await read_event(server, "call.ended")

    ended = await end(server)
    assert ended.code == 130
    assert f"listening on {listening['url']}" in ended.stderr
    assert "rtc-transport call --url" in ended.stderr
    assert "completed: (parrot, " in ended.stderr
    assert key not in ended.stderr + ended.stdout
    assert "Traceback" not in ended.stderr


async def test_a_wrong_key_is_refused_in_words(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = await start_command(tmp_path, ["serve", "--port", 0, "--key", "sk-right", "--json"])
    listening = await read_event(server, "listening")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-wrong")
    minted = await run_command_beside(capsys, "keys", "--base-url", listening["url"], "--json")
    assert minted.code == 1
    assert "401" in minted.error
    assert json.loads(minted.stdout)["outcome"] == "failed"
    assert "sk-wrong" not in minted.stderr
    await end(server)


def test_an_address_in_use_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ended = run_command(capsys, "serve", "--port", port)
    assert ended.code == 1
    assert f"127.0.0.1:{port}" in ended.error
