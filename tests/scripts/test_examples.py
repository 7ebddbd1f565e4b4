"""The README's programs are the example files, and they run."""

import asyncio
import re
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import numpy as np
import pytest

from rtc_transport.server import RealtimeServer
from support.command_line import ROOT, environment, read_wav, short_speech
from support.fake_audio import LAPTOP, FakeCards
from support.transports import eventually, types_of

sys.path.insert(0, str(ROOT / "scripts"))
import example_desktop_agent
import example_headless_bot

EXAMPLES = sorted((ROOT / "scripts").glob("example_*.py"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_the_readme_shows_the_example_as_it_is(path: Path) -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", readme, flags=re.DOTALL)
    assert path.read_text(encoding="utf-8") in blocks
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 22


def test_every_file_the_documents_point_to_is_there() -> None:
    for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md"):
        text = (ROOT / name).read_text(encoding="utf-8")
        for target in re.findall(r"\]\(((?!https?:)[^)#]+)\)", text) + re.findall(
            r"`(scripts/\w+(?:\.py)?)", text
        ):
            assert (ROOT / target).exists(), f"{name} points to {target}"


async def test_the_headless_bot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-any")
    question, answer = short_speech(tmp_path / "question.wav"), tmp_path / "answer.wav"
    async with RealtimeServer() as server:
        await example_headless_bot.main(str(question), str(answer), server.url)
    assert capsys.readouterr().out.startswith("(parrot, ")
    assert abs(read_wav(answer)[0]).max() > 0.1


async def test_the_desktop_agent(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-any")
    cards = FakeCards(*LAPTOP)
    for module in ("microphone", "speaker"):
        monkeypatch.setattr(f"rtc_audio.devices.{module}.default_hub", lambda: cards.hub)
    cards.sound = lambda name, channel, seconds: 0.3 * np.sin(2800 * seconds) * (seconds % 4 < 1)
    async with RealtimeServer() as server:
        agent = asyncio.create_task(example_desktop_agent.main(server.url))
        await eventually(lambda: len(server.calls) == 1)
        (call,) = server.calls.values()
        await eventually(lambda: "response.done" in types_of(call, "server"), timeout=15)
        call.end("enough")
        await agent
    assert "(parrot, " in capsys.readouterr().out
    assert not cards.open_streams


@pytest.mark.timeout(60)
def test_the_integration_test_passes_for_a_user_of_the_fixture(tmp_path: Path) -> None:
    example = (ROOT / "scripts" / "example_integration_test.py").read_text(encoding="utf-8")
    (tmp_path / "test_agent.py").write_text(example)
    (tmp_path / "pytest.ini").write_text("[pytest]\nasyncio_mode = auto\n")
    # installed, the entry point names the plugin; a second time would be an error
    installed = any(point.name == "rtc_transport" for point in entry_points(group="pytest11"))
    plugin = [] if installed else ["-p", "rtc_transport.pytest_plugin"]
    command = [sys.executable, "-m", "pytest", "-q", *plugin, "test_agent.py"]
    result = subprocess.run(
        command, cwd=tmp_path, env=environment(), capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert "1 passed" in result.stdout
