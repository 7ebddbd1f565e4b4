"""Single keys of the terminal, while a call runs."""

import asyncio
import contextlib
import os
import re
import sys
from collections.abc import Callable
from typing import Any, Self

ESCAPES = re.compile(rb"\x1b(?:\[[0-9;]*[A-Za-z~]|O.)?")
"""Arrows and the like (ECMA-48 §5.4), which are no keys of ours."""


class Keyboard:
    """Calls `on_key` with every key that is pressed, on the event loop, between enter and exit; Ctrl-C stays Ctrl-C.

    Without a terminal to read from (a pipe, a job in the background, Windows) there are no keys, and `available` says
    so. On exit the terminal is as it was before, whatever has happened.
    """

    def __init__(self, on_key: Callable[[str], None]) -> None:
        self._on_key = on_key
        self._fd = _terminal()
        self._before: list[Any] | None = None

    @property
    def available(self) -> bool:
        """Whether there will be keys."""
        return self._fd is not None

    def __enter__(self) -> Self:
        if self._fd is not None:
            import termios
            import tty

            self._before = termios.tcgetattr(self._fd)
            try:
                tty.setcbreak(self._fd)  # not raw: output and Ctrl-C go on as usual
                asyncio.get_running_loop().add_reader(self._fd, self._read)
            except BaseException:
                self.__exit__()
                raise
        return self

    def __exit__(self, *_: object) -> None:
        if self._fd is not None and self._before is not None:
            import termios

            asyncio.get_running_loop().remove_reader(self._fd)
            with contextlib.suppress(termios.error):  # the terminal is gone: nothing is left to be restored
                termios.tcsetattr(self._fd, termios.TCSADRAIN, self._before)
            self._before = None

    def _read(self) -> None:
        assert self._fd is not None
        try:
            pressed = os.read(self._fd, 64)
        except OSError:  # the terminal is gone
            pressed = b""
        if not pressed:
            asyncio.get_running_loop().remove_reader(self._fd)
        for key in ESCAPES.sub(b"", pressed).decode(errors="ignore"):
            self._on_key(key)


def _terminal() -> int | None:
    """The terminal on stdin, if it is ours to read from."""
    try:
        fd = sys.stdin.fileno()
        if os.isatty(fd) and os.tcgetpgrp(fd) == os.getpgrp():
            return fd
    except (AttributeError, OSError, ValueError):  # Windows; no stdin
        pass
    return None
