"""A machine whose only interface is `lo` can run the loopback job."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

JOB = """
import asyncio
from rtc_transport import RealtimeServer, ToneSource, WebRTCTransport

async def main():
    async with RealtimeServer() as server, WebRTCTransport(ToneSource(), base_url=server.url) as transport:
        await transport.connect(api_key="test-key", timeout_seconds=10)
        await server.calls[transport.call_id].wait_for("input_audio_buffer.speech_started")
        print("heard")

asyncio.run(asyncio.wait_for(main(), 15))
"""


@pytest.mark.timeout(60)
def test_a_call_in_a_namespace_that_has_nothing_but_lo() -> None:
    if shutil.which("unshare") is None or shutil.which("ip") is None:
        pytest.skip("needs unshare and ip to make a network namespace")
    probe = subprocess.run(["unshare", "--net", "true"], capture_output=True, check=False)
    if probe.returncode != 0:
        pytest.skip(f"this user may not make a network namespace: {probe.stderr.decode().strip()}")
    root = Path(__file__).parent.parent.parent
    paths = os.pathsep.join(str(root / part) for part in ("", "audio", "signaling"))
    job = subprocess.run(
        ["unshare", "--net", "sh", "-c", 'ip link set lo up && exec "$0" -c "$1"', sys.executable, JOB],
        capture_output=True,
        text=True,
        check=False,
        timeout=50,
        env={**os.environ, "PYTHONPATH": paths},
    )
    assert job.stdout.strip() == "heard", job.stderr
