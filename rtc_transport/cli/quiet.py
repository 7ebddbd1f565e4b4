"""Drivers that write to the terminal by themselves."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def drivers_silenced() -> Iterator[None]:
    """What C libraries write on stderr goes nowhere: ALSA, JACK and PortAudio do, even in the middle of a call.

    `sys.stderr` goes on where it went. Without a file descriptor behind it nothing changes.
    """
    before = sys.stderr
    try:
        there = before.fileno() == 2
    except (AttributeError, OSError, ValueError):
        there = False
    if not there:
        yield
        return
    before.flush()
    kept = os.dup(2)
    sys.stderr = open(kept, "w", encoding=before.encoding, errors=before.errors, buffering=1)  # noqa: SIM115 - below
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    os.close(nowhere)
    try:
        yield
    finally:
        sys.stderr.flush()
        os.dup2(kept, 2)
        sys.stderr.close()
        sys.stderr = before
