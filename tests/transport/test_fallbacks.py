"""Whole calls where something is missing: aiortc's private hooks, or libopus. Both ends are without it."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import numpy as np
import pytest
from numpy.typing import NDArray

from rtc_audio import CallbackSink, ToneSource
from rtc_audio.sinks import Delay
from rtc_transport import RealtimeServer, WebRTCTransport
from rtc_transport.server import Call
from rtc_transport.server.script import Script
from support.transports import call_of, connected, eventually, level_dbfs

RATE_HZ = 24000


def without_hooks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rtc_transport.receiver.take_rtp", lambda *_: None)


def without_libopus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rtc_audio.opus.load_libopus", lambda: None)


Missing = Callable[[pytest.MonkeyPatch], None]


def sounds_like(pcm: NDArray[np.float32], hz: float) -> bool:
    """Whether the last fifth of a second is a tone of that pitch, and loud."""
    last = pcm[-RATE_HZ // 5 :]
    if len(last) < RATE_HZ // 5 or level_dbfs(last) < -40:
        return False
    return abs(int(np.abs(np.fft.rfft(last * np.hanning(len(last)))).argmax()) * 5 - hz) <= 10


@asynccontextmanager
async def calling(
    delay: Delay,
) -> AsyncIterator[tuple[WebRTCTransport, Call, Callable[[], NDArray[np.float32]]]]:
    """(transport that says a tone of 1 kHz, the server's call, what was heard so far)"""
    heard = [np.zeros(0, np.float32)]
    sink = CallbackSink(lambda pcm: heard.append(pcm[:, 0].copy()), RATE_HZ, delay=delay)
    reply = Script.parse({"turns": [{"text": "word " * 20}]})  # seven seconds of a tone
    session = {"audio": {"input": {"turn_detection": None}}}
    async with (
        RealtimeServer(reply=reply) as server,
        connected(server, session=session, source=ToneSource(1000, -10), sink=sink) as transport,
    ):
        yield transport, call_of(server, transport), lambda: np.concatenate(heard)


@pytest.mark.parametrize("delay", ["adaptive", "none"])
@pytest.mark.parametrize("missing", [without_hooks, without_libopus])
async def test_a_call(monkeypatch: pytest.MonkeyPatch, missing: Missing, delay: Delay) -> None:
    missing(monkeypatch)
    async with calling(delay) as (transport, call, heard), asyncio.timeout(18):
        assert transport._call is not None
        assert transport._call.peer.receiver.own == (missing is without_libopus)
        await eventually(lambda: sounds_like(call.heard(), 1000), timeout=10)
        transport.send_message("Speak!")
        await eventually(lambda: sounds_like(heard(), 440), timeout=10)
        playback = transport._media.voice.playback
        await eventually(lambda: playback().played_ms > 300 and playback().playing)
        assert playback().played_ms <= playback().received_ms + 20
        transport.interrupt()
        await eventually(lambda: level_dbfs(heard()[-RATE_HZ // 10 :]) < -60, timeout=4)
        await asyncio.sleep(0.6)
        stats = transport.stats()
    assert stats.packets_received > 30
    assert stats.playout.received > 30
    assert stats.playout.decoded_ms > 500
