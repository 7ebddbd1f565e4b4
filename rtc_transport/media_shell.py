"""What the transport does with sound, and the events that tell of it."""

import os
from typing import TYPE_CHECKING, Literal

from rtc_audio.ports import AudioSink, AudioSource, Pcm
from rtc_audio.recorder import StereoRecorder

from .call import Call
from .capture import Capture, EchoMode
from .events import TRANSPORT_EVENTS
from .events.transport import Audio, InputAudio, SourceEnded, Stats
from .layer import ResponseHandle
from .media import Media
from .periodic import Pulse
from .protocol.effects import MarkVoice, Playback
from .protocol.history import HistoryLimits
from .shell import ProtocolShell
from .stats import CallStats, collect
from .tracks import OpusSettings
from .turns import ManualTurns

if TYPE_CHECKING:
    from rtc_audio.devices import DeviceEvent


class MediaShell(ProtocolShell):
    """The media half of a transport: source and sink, mute, turns and numbers; connecting is the subclass's.

    It is the `media.MediaEvents` that emits what happens to the sound.
    """

    def __init__(
        self,
        source: AudioSource | None,
        sink: AudioSink | None,
        *,
        opus: OpusSettings,
        late: Literal["keep", "drop"],
        record: str | os.PathLike[str] | None,
        echo: EchoMode,
        push_to_talk: bool,
        pre_roll_ms: float,
        stats_interval_seconds: float | None,
        history: HistoryLimits | None,
    ) -> None:
        super().__init__(history)
        capture = Capture(
            echo,
            pre_roll_ms,
            push_to_talk=push_to_talk,
            on_echo_error=self.echo_failed,
            on_device=self.device_event,
        )
        recorder = None if record is None else StereoRecorder(record, on_error=self.recording_failed)
        self._media = Media(source, sink, opus.rate_hz, late, self, capture, recorder)
        self._media.uplink.muted = push_to_talk
        self._pulse = Pulse(stats_interval_seconds, self._tell_stats)
        self._turns = ManualTurns(self, capture, self._cut, self._round_trip, opus.frame_ms / 1000)
        self._voice_mark: MarkVoice | None = None
        self._call: Call | None = None
        self._marks: dict[str, float] = {}

    @property
    def muted(self) -> bool:
        return self._media.uplink.muted

    def mute(self, muted: bool) -> None:
        self._media.uplink.muted = muted

    async def set_source(self, source: AudioSource | None) -> None:
        """Exchanges what the model hears, also during a call; None is silence. The old source is released.

        If the new one cannot be started, its error comes out and the old one stays.
        """
        await self._media.set_source(source)

    async def set_sink(self, sink: AudioSink | None) -> None:
        """Exchanges where the voice goes, also during a call; None drains it. The old sink is released.

        If the new one cannot be started, its error comes out and the old one stays.
        """
        await self._media.set_sink(sink)

    def stats(self) -> CallStats:
        """What the call is like now, as an immutable snapshot."""
        return collect(self._call, self._media, self._marks, self._pulse.lag_seconds)

    async def begin_turn(self) -> None:
        """Begins a turn of the user: drops what the service has heard, then unmutes.

        With `push_to_talk` it hears what was captured from `pre_roll_ms` before this call on. Returns when the turn has
        begun, after a round trip. Cancelled, it has not. Raises ConfigError unless the service has acknowledged a
        session whose `turn_detection` is None, TurnError if a turn is open, NotConnectedError.
        """
        await self._turns.begin()

    async def end_turn(self) -> ResponseHandle:
        """Ends the turn and asks for an answer: all that was captured until now leaves, then silence, and one round
        trip later it is muted until the next turn and the service told to take it (`input_audio_buffer.commit`).

        Cancelled, or when the connection ends, the turn is dropped. Raises TurnError if no turn is open,
        NotConnectedError.
        """
        return await self._turns.end()

    def _cut(self, cut: bool) -> None:
        self._media.uplink.cut = cut

    def _round_trip(self) -> float | None:
        return None if self._call is None else self._call.rtt_seconds

    # ---- what the shell asks

    def _playback(self) -> Playback:
        return self._media.voice.playback()

    def _stop_playout(self, drop_until: float | None) -> None:
        self._media.voice.stop(drop_until)

    def _resume_playout(self) -> None:
        self._media.voice.resume()

    def _mark_voice(self, mark: MarkVoice) -> None:
        self._voice_mark = mark
        self._media.latency.answering()
        self._media.voice.mark()

    def _source_active(self) -> bool:
        return self._media.speaking

    # ---- what `Media` tells

    def source_failed(self, error: Exception) -> None:
        """A source raised; silence goes out."""
        self._report(f"the source failed and is silent: {text_of(error)}", "source", error)

    def source_ended(self) -> None:
        """The source has ended; silence follows."""
        self._tell("source_ended", SourceEnded())

    def sink_failed(self, error: Exception) -> None:
        """A sink raised; the voice is drained."""
        self._report(f"the sink failed: {text_of(error)}", "sink", error)

    def recording_failed(self, error: Exception) -> None:
        """The recording ends here; the call goes on."""
        self._report(f"the recording failed: {text_of(error)}", "sink", error)

    def echo_failed(self, error: Exception) -> None:
        """The echo canceller failed; the microphone is heard as it is."""
        self._report(
            f"the echo canceller failed, the echo is not cancelled: {text_of(error)}", "device", error
        )

    def device_event(self, event: "DeviceEvent") -> None:
        """Something happened to a microphone or a loudspeaker."""
        payload = TRANSPORT_EVENTS[event.kind].model_validate(
            {"direction": event.direction, "device": event.device, "reason": event.reason}
        )
        self._tell(event.kind, payload)

    def wants_sent(self) -> bool:
        """Whether somebody listens to what goes out, so that it must not pass undecoded."""
        return self._emitter.has_listeners("input_audio")

    def sent(self, pcm: Pcm, rate_hz: int) -> None:
        """A piece of our sound went out."""
        if self.wants_sent():
            self._tell("input_audio", InputAudio(pcm=pcm, rate_hz=rate_hz))

    def played(self, pcm: Pcm, rate_hz: int) -> None:
        """A piece of the voice was handed to the sink."""
        if self._emitter.has_listeners("audio"):
            mark = self._voice_mark or MarkVoice(None, None)
            audio = Audio(pcm=pcm, rate_hz=rate_hz, item_id=mark.item_id, response_id=mark.response_id)
            self._tell("audio", audio)

    def _tell_stats(self) -> None:
        if self._status == "connected" and self._emitter.has_listeners("stats"):
            self._tell("stats", Stats(stats=self.stats()))


def text_of(error: Exception) -> str:
    """The error's own words, or at least its name."""
    return str(error) or type(error).__name__
