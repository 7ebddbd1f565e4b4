"""Runs a scenario against real PortAudio over a sound server of its own (`scripts/virtual_audio`).

The list of devices and the server are found when PortAudio starts, so each scenario is a process of its own:

    @real_audio
    def test_something() -> None:
        heard = run_scenario("scenario_name", ...)

A scenario is a coroutine function in `tests/devices/scenarios.py`; what it returns, as JSON, is what it has seen.
"""

import importlib
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
SCENARIOS = ROOT / "tests" / "devices" / "scenarios.py"
MISSING = [tool for tool in ("pulseaudio", "pactl", "pacat") if shutil.which(tool) is None]


def reason_to_skip() -> str | None:
    """What is missing here, with what installs it; None if nothing is."""
    if sys.platform != "linux":
        return "the virtual sound server of these tests runs on Linux"
    if MISSING:
        packages = "libportaudio2 libasound2-plugins pulseaudio pulseaudio-utils"
        return f"no {', '.join(MISSING)}: apt-get install --no-install-recommends {packages}"
    try:
        importlib.import_module("sounddevice")
    except (ImportError, OSError) as error:
        return f"no PortAudio: {error}"
    return None


def run_scenario(
    name: str, *arguments: object, timeout_seconds: float = 60.0, scenarios: Path = SCENARIOS
) -> dict[str, Any]:
    """What the scenario has seen; fails with its traceback if it fails."""
    command = [ROOT / "scripts" / "virtual_audio", sys.executable, scenarios, name, *map(str, arguments)]
    path = os.pathsep.join(str(ROOT / part) for part in (".", "audio", "signaling", "tests"))
    process = subprocess.Popen(
        [str(part) for part in command],
        env={**os.environ, "PYTHONPATH": path, "OPENBLAS_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        stdout, stderr = process.communicate(timeout=timeout_seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGTERM)  # its own session: the server and its clients, nothing else
        stdout, stderr = process.communicate()
        pytest.fail(f"{name} did not end within {timeout_seconds:g} s:\n{stderr[-4000:]}")
    assert process.returncode == 0, f"{name}:\n{stderr[-4000:]}"
    seen: dict[str, Any] = json.loads(stdout.splitlines()[-1])
    return seen
