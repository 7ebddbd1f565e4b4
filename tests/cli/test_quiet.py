"""What drivers write on stderr by themselves does not reach the terminal; what Python writes does."""

import io
import os
import subprocess
import sys

import pytest

from rtc_transport.cli.quiet import drivers_silenced

PROGRAM = """
import os, sys
from rtc_transport.cli.quiet import drivers_silenced
def driver(text):
    os.write(2, text.encode())
driver("before\\n")
with drivers_silenced():
    driver("ALSA lib pcm.c: underrun occurred\\n")
    print("for people", file=sys.stderr)
driver("after\\n")
print("at the end", file=sys.stderr)
"""


def test_only_drivers_are_silenced_and_only_meanwhile() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], check=True, capture_output=True, text=True)
    assert done.stderr.splitlines() == ["before", "for people", "after", "at the end"]


@pytest.mark.parametrize("stderr", [io.StringIO(), None])
def test_a_stderr_that_is_no_file_is_left_alone(monkeypatch: pytest.MonkeyPatch, stderr: object) -> None:
    monkeypatch.setattr(sys, "stderr", stderr)
    kept = os.fstat(2)
    with drivers_silenced():
        assert sys.stderr is stderr
        assert os.path.samestat(os.fstat(2), kept)
