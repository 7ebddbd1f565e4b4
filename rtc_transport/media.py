"""The sound of a transport, both ways: source → uplink → track, and packets → voice → sink.

It outlives calls: mute, source and sink hold from one to the next. Sources and sinks are started when a call begins
and released when it ends.
"""

import asyncio
from collections.abc import Sequence
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from rtc_audio.errors import AudioFileError
from rtc_audio.opus_packet import has_voice
from rtc_audio.ports import AudioSink, AudioSource, PacketFormat, Pcm
from rtc_audio.recorder import StereoRecorder
from rtc_audio.uplink import Uplink

from .capture import Capture
from .stats import ResponseLatency
from .voice import AUDIBLE_PEAK, RemoteVoice


class MediaEvents(Protocol):
    """Who is told of what happens to the sound. Nothing here may wait or raise."""

    def source_failed(self, error: Exception) -> None: ...
    def source_ended(self) -> None: ...
    def sink_failed(self, error: Exception) -> None: ...
    def recording_failed(self, error: Exception) -> None: ...
    def wants_sent(self) -> bool: ...
    def sent(self, pcm: Pcm, rate_hz: int) -> None: ...
    def played(self, pcm: Pcm, rate_hz: int) -> None: ...


class Media:
    """`start_source`, `start_sink`, `release` and `stop` are the stations of a call.

    The source is started first and not read until `release`; the sink is started when there is a connection, so that
    a connect that fails costs a file nothing that is in it. So is the recorder.

    It is what the track reads (`tracks.PacketFeed`): packets of the source pass while nobody needs their samples.
    """

    def __init__(
        self,
        source: AudioSource | None,
        sink: AudioSink | None,
        rate_hz: int,
        late: Literal["keep", "drop"],
        events: MediaEvents,
        capture: Capture,
        recorder: StereoRecorder | None = None,
    ) -> None:
        self.source, self.sink = source, sink
        self.capture = capture
        self._events = events
        self._recorder = recorder
        self._running = self._released = False
        self._faults_before = 0, 0
        self.latency = ResponseLatency()
        self.uplink = Uplink(
            rate_hz, on_error=events.source_failed, on_ended=lambda source: events.source_ended()
        )
        self.uplink.held = True
        self.voice = RemoteVoice(late=late, on_error=events.sink_failed)
        self.voice.tap = self._on_played
        self.voice.on_audible = lambda now: self.latency.heard(now + self._output_seconds)

    async def start_source(self) -> None:
        """Starts the source, silent until `release`; what its start raises comes out."""
        self._running, self._released = True, False
        self._faults_before = self.uplink.source_errors, self.uplink.nonfinite_samples
        self.uplink.held = True
        if self.source is not None:
            await self.source.start()
        self.uplink.set_source(self.capture.connect(self.source, self.sink))

    async def start_sink(self) -> None:
        """Starts the sink and the recorder; what the start of the sink raises comes out."""
        if self._recorder is not None:
            try:
                await self._recorder.start()
            except AudioFileError as error:
                self._events.recording_failed(error)
        await self.voice.begin(self.sink)

    def release(self) -> None:
        """The source is read from now on."""
        self.uplink.held = False

    async def stop(self) -> None:
        """Releases source, sink and recorder, started or not, all although one fails; idempotent.

        Raises what the source raised; what the sink raises is told to `events`.
        """
        if self._released:
            return
        self._running, self._released = False, True
        self.uplink.held = True
        self.uplink.set_source(None)
        self.capture.disconnect()
        try:
            await self.voice.end(self.sink)
        finally:
            if self._recorder is not None:
                await self._recorder.aclose()
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
            self.uplink.set_source(self.capture.connect(source, self.sink))
        self.source = source
        if self._running and old is not None:
            await old.aclose()

    async def set_sink(self, sink: AudioSink | None) -> None:
        """See `WebRTCTransport.set_sink`."""
        if sink is not self.sink:
            await self.voice.exchange(sink)
            self.sink = sink
            if self._running:
                self.uplink.set_source(self.capture.connect(self.source, sink))

    @property
    def speaking(self) -> bool:
        """Whether a source is heard by the peer, as far as mute goes."""
        return self.source is not None and not self.uplink.muted

    @property
    def source_faults(self) -> tuple[int, int]:
        """Of this call: reads that failed, and samples that were NaN or infinite."""
        errors, nonfinite = self._faults_before
        return self.uplink.source_errors - errors, self.uplink.nonfinite_samples - nonfinite

    # ---- what the track reads

    def read(self, n: int) -> NDArray[np.float32]:
        """The next n samples to be sent."""
        clock = asyncio.get_running_loop().time
        begins = 0.0 if self._recorder is None else clock() - self.capture.age_seconds()
        pcm, now = self.uplink.read(n), clock()
        if float(np.abs(pcm).max(initial=0.0)) > AUDIBLE_PEAK:
            self.latency.spoke(now - self.capture.age_seconds())
        if self._recorder is not None:
            self._recorder.write_user(pcm[:, None], self.uplink.rate_hz, begins)
        self._events.sent(pcm[:, None], self.uplink.rate_hz)
        return pcm

    def read_packet(self, limit: PacketFormat) -> bytes | None:
        """The source's next packet, if nobody listens to what is sent; its encoder says whether it can be heard."""
        if self._recorder is not None or self._events.wants_sent():
            return None
        payload = self.uplink.read_packet(limit)
        if payload is not None and has_voice(payload):
            self.latency.spoke(asyncio.get_running_loop().time())
        return payload

    def take_lead_in(self) -> Sequence[NDArray[np.float32]]:
        """See `Uplink.take_lead_in`."""
        return self.uplink.take_lead_in()

    # ---- what is played

    def _on_played(self, pcm: Pcm, rate_hz: int, at_seconds: float) -> None:
        latency_seconds = self._output_seconds
        self.capture.played(pcm, rate_hz, latency_seconds)
        if self._recorder is not None:
            self._recorder.write_model(pcm, rate_hz, at_seconds + latency_seconds)
        self._events.played(pcm, rate_hz)

    @property
    def _output_seconds(self) -> float:
        """How long it takes until what the sink is given sounds."""
        return float(getattr(self.sink, "latency_seconds", 0.0))
