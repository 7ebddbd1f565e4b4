"""Thirty calls in a row leave no more behind than three."""

import asyncio
import gc
import os
import threading
from pathlib import Path

import pytest

from rtc_transport import CallbackSink, RealtimeServer, ToneSource, WebRTCTransport


def held() -> tuple[int, int, int]:
    """Tasks, threads and descriptors of this process."""
    gc.collect()
    descriptors = Path("/proc/self/fd")
    count = len(os.listdir(descriptors)) if descriptors.exists() else 0
    return len(asyncio.all_tasks()), threading.active_count(), count


@pytest.mark.timeout(120)
async def test_thirty_calls_leave_no_more_tasks_threads_or_descriptors_than_three(
    realtime_server: RealtimeServer,
) -> None:
    after_three = (0, 0, 0)
    for number in range(30):
        transport = WebRTCTransport(
            ToneSource(), CallbackSink(lambda pcm: None), base_url=realtime_server.url
        )
        await transport.connect(api_key="test-key")
        await transport.close()
        await asyncio.sleep(0.2)  # the server's side ends a moment later
        if number == 2:
            after_three = held()
    now = held()
    assert all(later <= before for later, before in zip(now, after_three, strict=True)), (after_three, now)
