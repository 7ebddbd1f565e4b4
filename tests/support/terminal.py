"""A program in a pseudo-terminal of its own, 80 columns wide: what it writes there, and keys for it."""

import contextlib
import os
import re
import select
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\r")


class Terminal:
    """Runs `command` as the leader of a session on a terminal; ended when the block is left."""

    def __init__(self, command: Sequence[object], *, cwd: Path, env: Mapping[str, str]) -> None:
        self.text = ""
        """All it has written, without colours and movements of the cursor."""
        self._main, other = os.openpty()
        self._process = subprocess.Popen(
            [str(part) for part in command],
            cwd=cwd,
            env={**env, "TERM": "xterm-256color", "COLUMNS": "80", "LINES": "24"},
            stdin=other,
            stdout=other,
            stderr=other,
            preexec_fn=lambda: os.login_tty(0),
        )
        os.close(other)

    def press(self, keys: str) -> None:
        """As if they were typed."""
        os.write(self._main, keys.encode())

    def wait_for(self, text: str, seconds: float = 15.0) -> None:
        """Until it has been written; fails with what was written instead."""
        end = time.monotonic() + seconds
        while text not in self.text:
            assert self._read(end - time.monotonic()), f"no {text!r} in:\n{self.text[-3000:]}"

    def wait(self, seconds: float = 15.0) -> int:
        """Its exit code."""
        end = time.monotonic() + seconds
        while self._read(end - time.monotonic()):
            pass
        return self._process.wait(max(0.1, end - time.monotonic()))

    def _read(self, seconds: float) -> bool:
        if not select.select([self._main], [], [], max(0.0, seconds))[0]:
            return False
        try:
            data = os.read(self._main, 65536)
        except OSError:  # all of its writers are gone
            return False
        self.text += CONTROL.sub("", data.decode(errors="replace"))
        return bool(data)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGTERM)  # its own session, nothing else
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                os.killpg(self._process.pid, signal.SIGKILL)
                self._process.wait()
        os.close(self._main)
