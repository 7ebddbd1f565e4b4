"""Transports connected to the embedded server, and what tests ask about sound."""

import asyncio
import math
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rtc_transport import RealtimeServer, WebRTCTransport
from rtc_transport.server import Call


@asynccontextmanager
async def connected(
    server: RealtimeServer,
    *,
    session: dict[str, Any] | None = None,
    **options: Any,
) -> AsyncIterator[WebRTCTransport]:
    """A connected transport, closed at the end of the block."""
    async with WebRTCTransport(base_url=server.url, **options) as transport:
        await transport.connect(api_key="test-key", session=session)
        yield transport


def call_of(server: RealtimeServer, transport: WebRTCTransport) -> Call:
    """The server's side of the transport's call."""
    assert transport.call_id is not None
    return server.calls[transport.call_id]


def sent_by_client(call: Call) -> list[dict[str, Any]]:
    """The client's events in order."""
    return [dict(logged.event) for logged in call.events if logged.sender == "client"]


def types_of(call: Call, sender: str) -> list[str]:
    """The types of one side's events in order."""
    return [str(logged.event["type"]) for logged in call.events if logged.sender == sender]


def level_dbfs(pcm: NDArray[np.float32]) -> float:
    """RMS in dBFS; -120 for nothing."""
    rms = float(np.sqrt(np.mean(np.square(pcm, dtype=np.float64)))) if pcm.size else 0.0
    return 20 * math.log10(max(rms, 1e-6))


async def eventually(holds: Callable[[], bool], timeout: float = 5) -> None:
    """Returns as soon as `holds()`; TimeoutError if it does not in time. For what has no event to wait for."""
    async with asyncio.timeout(timeout):
        while not holds():  # noqa: ASYNC110 - levels of sound have no event
            await asyncio.sleep(0.01)


async def other_tasks() -> set["asyncio.Task[Any]"]:
    """Tasks that are still there after those that are about to end have had their turns."""
    for _ in range(20):
        left = asyncio.all_tasks() - {asyncio.current_task()}
        if not left:
            return set()
        await asyncio.wait(left, timeout=0.05)
    return {task for task in left if not task.done()}
