"""The public surface: what `__all__` says is there, is typed, and costs nothing to import."""

import ast
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import rtc_audio
import rtc_signaling
import rtc_transport


@pytest.mark.parametrize("package", [rtc_transport, rtc_audio, rtc_signaling])
def test_every_public_name_can_be_had_and_is_documented(package) -> None:  # type: ignore[no-untyped-def]  # a module
    for name in package.__all__:
        value = getattr(package, name)
        if inspect.isclass(value) or inspect.isfunction(value):
            assert value.__doc__, f"{name} has no docstring"
    assert set(package.__all__) <= set(dir(package))


def test_type_checkers_see_the_same_names_as_run_time() -> None:
    tree = ast.parse(Path(rtc_transport.__file__).read_text())
    block = next(node for node in tree.body if isinstance(node, ast.If))
    seen = {
        alias.name for node in ast.walk(block) if isinstance(node, ast.ImportFrom) for alias in node.names
    }
    assert seen == set(rtc_transport.__all__)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'rtc_transport' has no attribute 'Nonsense'"):
        _ = rtc_transport.Nonsense


def test_importing_the_package_loads_none_of_its_heavy_parts() -> None:
    code = (
        "import sys, rtc_transport; "
        "print(sorted({'aiortc', 'av', 'numpy', 'aiohttp', 'pydantic', 'sounddevice', 'typer', 'rich', 'matplotlib'}"
        " & set(sys.modules)))"
    )
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=_paths()
    )
    assert found.stdout.strip() == "[]"


def test_a_transport_needs_neither_portaudio_nor_the_command_line() -> None:
    code = (
        "import sys; sys.modules['sounddevice'] = None; from rtc_transport import WebRTCTransport, FileSource; "
        "print(sorted({'typer', 'rich', 'matplotlib', 'aiohttp.web'} & set(sys.modules)))"
    )
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=_paths()
    )
    assert found.stdout.strip() == "[]"


def _paths() -> dict[str, str]:
    import os

    root = Path(__file__).parent.parent
    places = [str(root), str(root / "audio"), str(root / "signaling")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(places)}
