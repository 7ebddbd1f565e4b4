"""Single keys of a terminal: read one by one, the terminal as before afterwards, none where there is none."""

import io
import os
import sys

import pytest

from rtc_transport.cli.keyboard import Keyboard
from support.command_line import ROOT, environment
from support.terminal import Terminal

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="terminals of Windows have no keys here")

PROGRAM = """
import asyncio, sys, termios
from rtc_transport.cli.keyboard import Keyboard

async def main():
    keys, news = [], asyncio.Event()
    def on_key(key):
        keys.append(key)
        news.set()
    before = termios.tcgetattr(0)
    keyboard = Keyboard(on_key)
    try:
        with keyboard:
            print("ready", keyboard.available, termios.tcgetattr(0)[3] & termios.ECHO, flush=True)
            while "q" not in keys:
                news.clear()
                await news.wait()
            print("keys", "".join(keys), flush=True)
            if "!" in keys:
                raise RuntimeError("something goes wrong")
    finally:
        print("restored", termios.tcgetattr(0) == before, flush=True)

asyncio.run(main())
"""


@pytest.mark.parametrize("failing", ["", "!"])
def test_keys_come_one_by_one_and_the_terminal_is_restored_whatever_happens(failing: str) -> None:
    with Terminal([sys.executable, "-c", PROGRAM], cwd=ROOT, env=environment()) as terminal:
        terminal.wait_for("ready True 0")
        terminal.press("m \x1b[A")
        terminal.press(failing + "iq")
        terminal.wait_for(f"keys m {failing}iq")
        terminal.wait_for("restored True")
        assert terminal.wait() == (1 if failing else 0)


@pytest.mark.parametrize("stdin", [io.StringIO(), None])
def test_without_a_terminal_there_are_no_keys(monkeypatch: pytest.MonkeyPatch, stdin: object) -> None:
    monkeypatch.setattr(sys, "stdin", stdin)
    keyboard = Keyboard(lambda key: None)
    assert not keyboard.available
    with keyboard:
        pass


def test_a_pipe_is_no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    reading, writing = os.pipe()
    with os.fdopen(reading) as stdin, os.fdopen(writing, "w"):
        monkeypatch.setattr(sys, "stdin", stdin)
        assert not Keyboard(lambda key: None).available
