"""``rtc-transport talk`` in a pseudo-terminal, on real PortAudio: what is shown, and every key."""

import json
import sys
from pathlib import Path

import pytest

from support.command_line import ROOT, environment
from support.terminal import Terminal
from support.virtual_audio import reason_to_skip

SKIPPED = reason_to_skip()

pytestmark = [
    pytest.mark.skipif(SKIPPED is not None, reason=SKIPPED or ""),
    pytest.mark.timeout(90),  # a sound server of its own for each, and real time
]


def talk(folder: Path, *arguments: object) -> Terminal:
    command = (
        ROOT / "scripts" / "virtual_audio",
        sys.executable,
        "-m",
        "rtc_transport",
        "talk",
        "--loopback",
    )
    return Terminal([*command, *arguments], cwd=folder, env=environment())


def test_turns_are_begun_and_ended_with_space_and_answered(tmp_path: Path) -> None:
    events = tmp_path / "call.jsonl"
    with talk(tmp_path, "--push-to-talk", "--record", "call.wav", "--events", events) as terminal:
        terminal.wait_for("space begin and end your turn · m unmute · i interrupt · q quit", 30)
        terminal.wait_for("muted, space begins your turn")
        terminal.press(" ")
        terminal.wait_for("your turn, space ends it")
        terminal.press("m")
        terminal.wait_for("muted, space ends your turn")
        terminal.press("m")
        terminal.text = ""
        terminal.wait_for("your turn, space ends it")
        terminal.press(" ")
        terminal.wait_for("your turn is over")
        terminal.wait_for("model (parrot, ")
        terminal.press("q")
        assert terminal.wait() == 0
        assert "connect " in terminal.text
        assert "listening to you" not in terminal.text
        assert "Traceback" not in terminal.text
    sent = [
        line["event"]["type"]
        for line in map(json.loads, events.read_text().splitlines())
        if line["direction"] == "sent"
    ]
    assert sent[-3:] == ["input_audio_buffer.clear", "input_audio_buffer.commit", "response.create"]
    assert (tmp_path / "call.wav").stat().st_size > 44


def test_mute_interrupt_and_ctrl_c(tmp_path: Path) -> None:
    with talk(tmp_path) as terminal:
        terminal.wait_for("listening to you", 30)
        terminal.press("m")
        terminal.wait_for(" muted")
        terminal.text = ""
        terminal.press("mi ")
        terminal.wait_for("listening to you")
        terminal.press("\x03")
        assert terminal.wait() == 130
        assert "Interrupted." in terminal.text
        assert "Traceback" not in terminal.text
