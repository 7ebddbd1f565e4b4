"""The fixture `realtime_server` in a project of its own."""

import subprocess
import sys
from pathlib import Path

import pytest

from rtc_transport import pytest_plugin

TEST = """
import pytest
from rtc_transport.server import RealtimeServer

{mark}
async def test_it(realtime_server):
    assert isinstance(realtime_server, RealtimeServer)
    assert realtime_server.url.endswith("/v1")
"""

INI = """
[pytest]
asyncio_mode = {mode}
asyncio_default_fixture_loop_scope = function
filterwarnings = error
"""


@pytest.mark.parametrize("mode", ["strict", "auto"])
def test_the_fixture_works_in_both_modes_of_pytest_asyncio(tmp_path: Path, mode: str) -> None:
    mark = "@pytest.mark.asyncio" if mode == "strict" else ""
    (tmp_path / "test_it.py").write_text(TEST.format(mark=mark))
    (tmp_path / "pytest.ini").write_text(INI.format(mode=mode))
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=18, check=False)
    assert "1 passed" in run.stdout, run.stdout + run.stderr


def test_without_pytest_asyncio_the_fixture_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pytest_plugin, "find_spec", lambda name: None)
    assert pytest_plugin._fixture().name == "realtime_server"
    with pytest.raises(pytest.fail.Exception, match="needs pytest-asyncio: pip install pytest-asyncio"):
        pytest_plugin._explain()
