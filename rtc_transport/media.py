"""The sound of a transport, both ways: source → uplink → track, and packets → voice → sink.

It outlives calls: mute, source and sink hold from one to the next. Sources and sinks are started when a call begins
and released when it ends.
"""

import asyncio
from typing import Literal, Protocol

import numpy as np

from rtc_audio.ports import AudioSink, AudioSource, Pcm
from rtc_audio.uplink import Uplink

from .stats import ResponseLatency
from .voice import AUDIBLE_PEAK, RemoteVoice


class MediaEvents(Protocol):
    """Who is told of what happens to the sound. Nothing here may wait or raise."""

    def source_failed(self, error: Exception) -> None: ...
    def source_ended(self) -> None: ...
    def sink_failed(self, error: Exception) -> None: ...
    def sent(self, pcm: Pcm, rate_hz: int) -> None: ...
    def played(self, pcm: Pcm, rate_hz: int) -> None: ...


class Media:
    """`start_source`, `start_sink`, `release` and `stop` are the stations of a call.

    The source is started first and not read until `release`; the sink is started when there is a connection, so that
    a connect that fails costs a file nothing that is in it.
    """

    def __init__(
        self,
        source: AudioSource | None,
        sink: AudioSink | None,
        rate_hz: int,
        late: Literal["keep", "drop"],
        events: MediaEvents,
    ) -> None:
        self.source, self.sink = source, sink
        self._events = events
        self._running = self._released = False
        self.latency = ResponseLatency()
        self.uplink = Uplink(
            rate_hz, on_error=events.source_failed, on_ended=lambda source: events.source_ended()
        )
        self.uplink.held = True
        self.uplink.add_tap(self._on_sent)
        self.voice = RemoteVoice(late=late, on_error=events.sink_failed)
        self.voice.tap = events.played
        self.voice.on_audible = self.latency.heard

    async def start_source(self) -> None:
        """Starts the source, silent until `release`; what its start raises comes out."""
        self._running, self._released = True, False
        self.uplink.held = True
        if self.source is not None:
            await self.source.start()
        self.uplink.set_source(self.source)

    async def start_sink(self) -> None:
        """Starts the sink; what its start raises comes out."""
        await self.voice.begin(self.sink)

    def release(self) -> None:
        """The source is read from now on."""
        self.uplink.held = False

    async def stop(self) -> None:
        """Releases source and sink, started or not, both although one fails; idempotent.

        Raises what the source raised; what the sink raises is told to `events`.
        """
        if self._released:
            return
        self._running, self._released = False, True
        self.uplink.held = True
        self.uplink.set_source(None)
        try:
            await self.voice.end(self.sink)
        finally:
            if self.source is not None:
                await self.source.aclose()

    async def set_source(self, source: AudioSource | None) -> None:
        """See `WebRTCTransport.set_source`."""
        if source is self.source:
            return
        old = self.source
        if self._running:
            if source is not None:
                await source.start()
            self.uplink.set_source(source)
        self.source = source
        if self._running and old is not None:
            await old.aclose()

    async def set_sink(self, sink: AudioSink | None) -> None:
        """See `WebRTCTransport.set_sink`."""
        if sink is not self.sink:
            await self.voice.exchange(sink)
            self.sink = sink

    @property
    def speaking(self) -> bool:
        """Whether a source is heard by the peer, as far as mute goes."""
        return self.source is not None and not self.uplink.muted

    def _on_sent(self, pcm: Pcm) -> None:
        if float(np.abs(pcm).max(initial=0.0)) > AUDIBLE_PEAK:
            self.latency.spoke(asyncio.get_running_loop().time())
        self._events.sent(pcm, self.uplink.rate_hz)
