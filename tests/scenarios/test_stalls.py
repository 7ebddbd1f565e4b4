"""An event loop that stands still: what it delayed is said later, and not one word is lost."""

import asyncio
import time

import numpy as np
import pytest
from numpy.typing import NDArray

from rtc_transport import CallbackSink, FileSource, RealtimeServer
from support.command_line import SPEECH, read_wav
from support.transports import connected
from support.wire_client import envelope, likeness

RATE_HZ = 24000


async def stand_still(seconds: float, every_seconds: float) -> None:
    """Blocks the loop again and again, as garbage collection or a careless application does."""
    while True:
        await asyncio.sleep(every_seconds)
        time.sleep(seconds)  # noqa: ASYNC251 - that is the point


@pytest.mark.timeout(40)
async def test_stalls_of_a_tenth_of_a_second_cost_no_word_in_either_direction(
    realtime_server: RealtimeServer,
) -> None:
    """Both ends stand still, three times a second, while the parrot listens and while it answers."""
    heard: list[NDArray[np.float32]] = []
    sink = CallbackSink(heard.append, RATE_HZ, delay="none")
    async with connected(realtime_server, source=FileSource(SPEECH), sink=sink) as transport:
        stalls = asyncio.create_task(stand_still(0.1, 0.23))
        await transport.wait_for("output_audio_buffer.stopped", timeout=30)
        stalls.cancel()
    said, rate_hz = read_wav(SPEECH)
    spoken = envelope(said.astype(np.float32), rate_hz)
    assert likeness(spoken, envelope(np.concatenate(heard)[:, 0], RATE_HZ)) > 0.95
