"""Running the command line as a user does: in this process on another thread, or in a process of its own."""

import asyncio
import os
import sys
import wave
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from rtc_transport.cli import main

ROOT = Path(__file__).resolve().parent.parent.parent
SPEECH = ROOT / "rtc_transport" / "data" / "speech.wav"


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    stdout: str
    stderr: str

    @property
    def error(self) -> str:
        """The one error line; fails if there is none or another one, or a traceback."""
        (line,) = (line for line in self.stderr.splitlines() if line.startswith("error: "))
        assert "Traceback" not in self.stderr
        return line.removeprefix("error: ")


def run_command(capsys: pytest.CaptureFixture[str], *arguments: object) -> Ended:
    """Runs ``rtc-transport ARGUMENTS``; not inside an event loop."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as caught:
        main([str(argument) for argument in arguments])
    streams = capsys.readouterr()
    return Ended(int(caught.value.code or 0), streams.out, streams.err)


async def run_command_beside(capsys: pytest.CaptureFixture[str], *arguments: object) -> Ended:
    """The same on another thread, for servers that live on this event loop."""
    return await asyncio.to_thread(run_command, capsys, *arguments)


def environment(**variables: str) -> dict[str, str]:
    """The environment of a process that finds the packages, installed or not."""
    folders = (ROOT, ROOT / "audio", ROOT / "signaling")
    path = os.pathsep.join(map(str, folders))
    inherited = {name: value for name, value in os.environ.items() if name != "OPENAI_API_KEY"}
    return {**inherited, "PYTHONPATH": path, **variables}


async def start_command(
    folder: Path, arguments: Sequence[object], **variables: str
) -> asyncio.subprocess.Process:
    """Starts ``python -m rtc_transport ARGUMENTS`` in `folder`, with pipes for both streams."""
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "rtc_transport", *map(str, arguments)),
        cwd=folder,
        env=environment(**variables),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


def read_wav(path: Path) -> tuple[NDArray[np.float64], int]:
    """A mono 16-bit WAV file, full scale = 1, and its rate in Hz."""
    with wave.open(str(path)) as file:
        assert (file.getnchannels(), file.getsampwidth()) == (1, 2)
        pcm = np.frombuffer(file.readframes(file.getnframes()), dtype="<i2")
        return pcm / 32768, file.getframerate()


def write_wav(path: Path, pcm: NDArray[np.float64], rate_hz: int = 24_000) -> Path:
    """Writes `[frame]`, full scale = 1, as a mono 16-bit WAV file."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate_hz)
        file.writeframes(np.rint(pcm * 32767).astype("<i2").tobytes())
    return path


def short_speech(path: Path, seconds: float = 1.0) -> Path:
    """The beginning of the shipped speech, for calls that need not take long."""
    pcm, rate_hz = read_wav(SPEECH)
    return write_wav(path, pcm[: round(seconds * rate_hz)], rate_hz)
