"""Every way a command can end is one exit code, and with ``--json`` one object; Ctrl-C leaves nothing half done."""

import asyncio
import json
import os
import signal
import sys
from types import ModuleType

import pytest

from rtc_transport.cli import main, running


def ctrl_c() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def test_ctrl_c_ends_what_can_be_ended(capsys: pytest.CaptureFixture[str]) -> None:
    async def command() -> int:
        ctrl_c()
        await asyncio.Event().wait()
        return running.DONE

    assert running.run(command, json_output=True) == 130
    streams = capsys.readouterr()
    assert json.loads(streams.out) == {"outcome": "interrupted", "error": None}
    assert streams.err == "Interrupted.\n"


def test_ctrl_c_lets_the_end_be_finished_and_shows_in_the_exit_code(
    capsys: pytest.CaptureFixture[str],
) -> None:
    done: list[str] = []

    async def last_steps() -> int:
        ctrl_c()
        for step in ("files", "picture"):
            await asyncio.sleep(0)
            done.append(step)
        running.print_json({"outcome": "answered"})
        return running.DONE

    async def command() -> int:
        return await running.unhurried(last_steps())

    assert running.run(command, json_output=True) == 130
    assert done == ["files", "picture"]
    assert json.loads(capsys.readouterr().out) == {"outcome": "answered"}


def test_ctrl_c_while_the_program_is_still_loading_is_no_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    class Loading(ModuleType):
        def __getattr__(self, name: str) -> object:
            raise KeyboardInterrupt

    monkeypatch.setitem(sys.modules, "rtc_transport.cli.app", Loading("rtc_transport.cli.app"))
    with pytest.raises(SystemExit) as caught:
        main(["devices"])
    assert caught.value.code == 130


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (
            FileNotFoundError(2, "No such file or directory", "a.wav"),
            "cannot open a.wav: no such file or directory",
        ),
        (BrokenPipeError(32, "Broken pipe"), "broken pipe"),
        (OSError("no\nnumber"), "no number"),
    ],
)
def test_an_error_of_the_system_is_one_line(
    capsys: pytest.CaptureFixture[str], error: OSError, message: str
) -> None:
    async def command() -> int:
        raise error

    assert running.run(command, json_output=True) == 1
    streams = capsys.readouterr()
    assert streams.err == f"error: {message}\n"
    failure = {"message": message, "stage": None, "status": None, "code": None}
    assert json.loads(streams.out) == {"outcome": "failed", "error": failure}
