"""What is collected while a call runs, from what its transport tells: log, picture, minutes, end, numbers."""

import asyncio
from collections.abc import Mapping
from dataclasses import asdict
from math import nan
from typing import Any

from rtc_transport.events import TRANSPORT_EVENTS, DeviceReport, EventModel, TransportEvent
from rtc_transport.events.transport import Audio, ClientEventSent, InputAudio
from rtc_transport.stats import CallStats
from rtc_transport.trace import CallTrace, Delays, Direction, TimedEvent, turns
from rtc_transport.webrtc import WebRTCTransport

from .ending import EndOfCall
from .eventlog import EventLog
from .minutes import Minutes

DEVICE_EVENTS = tuple(name for name, event in TRANSPORT_EVENTS.items() if issubclass(event, DeviceReport))
LOGGED = (
    "connection_change",
    "source_ended",
    "audio_interrupted",
    "error",
    "session_update_mismatch",
    "session_expiring",
    *DEVICE_EVENTS,
)


class CallRecord:
    """Listens to one transport; `begin` sets the time from which everything is counted, in seconds."""

    def __init__(self, ending: EndOfCall, log: EventLog | None) -> None:
        self.trace = CallTrace()
        self.minutes = Minutes()
        self.ending = ending
        self.source_ended = False
        self.stats = CallStats()
        self.log = log
        self._loop = asyncio.get_running_loop()
        self._began = self._loop.time()

    def begin(self) -> None:
        """The connect begins now."""
        self._began = self._loop.time()

    @property
    def seconds(self) -> float:
        """Since the connect began."""
        return self._loop.time() - self._began

    @property
    def heard_seconds(self) -> float:
        """How long the model has spoken."""
        spoken = turns(self.trace.events, self.seconds)
        return sum((turn.end - turn.start for turn in spoken if turn.lane == "model"), start=0.0)

    def listen(self, transport: WebRTCTransport) -> None:
        """Hears everything the transport tells from now on."""
        transport.on("*", self._on_server_event)
        transport.on("client_event", self._on_client_event)
        transport.on("source_ended", self._on_source_ended)
        transport.on("input_audio", self._on_input_audio)
        transport.on("audio", self._on_audio)
        for name in LOGGED:
            transport.on(name, self._on_transport_event)

    def take(self, stats: CallStats) -> None:
        """Keeps the latest numbers."""
        self.stats = stats
        round_trip_ms = nan if stats.rtt_ms is None else stats.rtt_ms
        self.trace.add_delays(Delays(self.seconds, stats.playout_delay_ms, round_trip_ms, stats.jitter_ms))

    def mute_changed(self, muted: bool) -> None:
        """The microphone was muted, or is heard again."""
        self._note("transport", {"type": "mute_change", "muted": muted})

    def numbers(self) -> dict[str, Any]:
        """The latest numbers for JSON, without the stages of the connect."""
        numbers = asdict(self.stats)
        numbers.pop("connect_seconds")
        return numbers

    def _note(self, direction: Direction, event: Mapping[str, Any]) -> None:
        self.trace.add_event(TimedEvent(self.seconds, direction, event))
        if self.log is not None:
            self.log.write(self.seconds, direction, event)

    def _on_server_event(self, event: EventModel) -> None:
        self._note("received", event.raw)
        self.ending.server_event(event.raw, self.seconds)
        self.minutes.server_event(event.raw)

    def _on_client_event(self, sent: ClientEventSent) -> None:
        self._note("sent", sent.event)

    def _on_transport_event(self, event: TransportEvent) -> None:
        self._note("transport", event.model_dump(mode="json"))

    def _on_source_ended(self, event: object) -> None:
        self.source_ended = True
        self.ending.source_ended(self.seconds)

    def _on_input_audio(self, event: InputAudio) -> None:
        self.trace.sent.add(event.pcm, event.rate_hz, self.seconds)

    def _on_audio(self, event: Audio) -> None:
        self.trace.heard.add(event.pcm, event.rate_hz, self.seconds)
