"""The names of the package: complete, lazy, documented."""

import ast
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import rtc_audio


def test_every_name_can_be_loaded_and_has_a_docstring() -> None:
    for name in rtc_audio.__all__:
        value = getattr(rtc_audio, name)
        assert name == "Pcm" or inspect.getdoc(value), name


def test_the_type_checker_sees_the_same_names() -> None:
    tree = ast.parse(Path(rtc_audio.__file__).read_text())
    seen = {
        alias.asname
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.level
        for alias in node.names
    }
    assert seen == set(rtc_audio.__all__)
    assert dir(rtc_audio) == rtc_audio.__all__


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match=r"^module 'rtc_audio' has no attribute 'Loudspeaker'$"):
        _ = rtc_audio.Loudspeaker


def test_importing_the_package_loads_nothing_heavy() -> None:
    program = "import sys, rtc_audio; print([m for m in ('numpy', 'av', 'sounddevice', 'asyncio') if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={"PYTHONPATH": ":".join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "[]"
