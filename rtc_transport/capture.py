"""What lies between the application's source and the uplink: the echo canceller and the memory of push-to-talk.

Also where the transport listens to devices: what a loudspeaker played, and what happens to either of them.
"""

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, get_args

from rtc_audio.echo import EchoKind
from rtc_audio.echo_source import EchoSource, ReportingSink, TimedSource
from rtc_audio.ports import AudioSink, AudioSource, Pcm
from rtc_audio.preroll import PreRollSource

from .errors import ConfigError

if TYPE_CHECKING:
    from rtc_audio.devices import DeviceEvent

EchoMode = Literal["auto", "cancel", "gate", "off", "webrtc"]


class Capture:
    """`connect` dresses a source and listens to the devices; `disconnect` lets go of them.

    `echo`: "auto" cancels where the source is a microphone and the sink a loudspeaker that tell their times, and else
    does nothing; "cancel", "webrtc" and "gate" take whatever there is: without times, those of reading and pulling
    count. With `push_to_talk` the last `pre_roll_ms` are remembered. `on_echo_error` is told, soon, when a canceller
    fails; `on_device` of the devices. Raises ConfigError for an unknown mode, ValueError for an impossible pre-roll.
    """

    def __init__(
        self,
        echo: EchoMode,
        pre_roll_ms: float,
        *,
        push_to_talk: bool,
        on_echo_error: Callable[[Exception], None],
        on_device: Callable[["DeviceEvent"], None],
    ) -> None:
        if echo not in get_args(EchoMode):
            raise ConfigError(f"echo={echo!r}: need one of {', '.join(get_args(EchoMode))}", "echo")
        self._mode: EchoMode = echo
        self._push_to_talk = push_to_talk
        self._pre_roll_ms = PreRollSource.check(pre_roll_ms)
        self._on_echo_error = on_echo_error
        self._on_device = on_device
        self._source: AudioSource | None = None
        self._listening: list[_Listening] = []
        self._echo: EchoSource | None = None
        self._told_of_played = False
        self.pre_roll: PreRollSource | None = None
        """The memory of push-to-talk; None without a source or without push-to-talk."""

    def connect(self, source: AudioSource | None, sink: AudioSink | None) -> AudioSource | None:
        """What the uplink has to read for this source and this sink. Keeps a turn under way if the source stays."""
        stays = source is self._source
        self._let_go()
        self._source = source
        stage = None if source is None else self._echo_stage(source, sink)
        for device in (source, sink):
            if hasattr(device, "on_event") and hasattr(device, "device"):
                self._listening.append(_Listening(device, "on_event", self._on_device_event))
        if stage is None or not self._push_to_talk:
            self.pre_roll = None
        elif stays and self.pre_roll is not None:
            self.pre_roll.source = stage
        else:
            self.pre_roll = PreRollSource(stage, self._pre_roll_ms)
        return self.pre_roll or stage

    def disconnect(self) -> None:
        """Lets go of source and sink; idempotent."""
        self._let_go()
        self._source = self.pre_roll = None

    def played(self, pcm: Pcm, rate_hz: int, latency_seconds: float) -> None:
        """Sound `[n, 1]` that the sink was given, and when it sounds; for sinks that do not say so themselves."""
        if self._echo is not None and not self._told_of_played:
            self._echo.played(pcm[:, 0], asyncio.get_running_loop().time() + latency_seconds)

    def age_seconds(self) -> float:
        """How long ago what the uplink reads next was recorded, echo canceller included, as far as known."""
        age = 0.0 if self._echo is None else self._echo.latency_seconds
        at_seconds: float | None = getattr(self._source, "next_seconds", None)
        if at_seconds is not None:
            age += max(0.0, asyncio.get_running_loop().time() - at_seconds)
        return age

    @property
    def return_loss_db(self) -> float | None:
        """See `EchoSource.return_loss_db`."""
        return None if self._echo is None else self._echo.return_loss_db

    # ---- echo

    def _echo_stage(self, source: AudioSource, sink: AudioSink | None) -> AudioSource:
        kind = self._kind(source, sink)
        if kind == "off" or sink is None:
            return source
        self._echo = echo = EchoSource(
            source,
            kind,
            sink.rate_hz,
            clock=asyncio.get_running_loop().time,
            on_error=self._on_failure,
        )
        if isinstance(sink, ReportingSink):
            self._told_of_played = True
            self._listening.append(_Listening(sink, "on_written", echo.played))
        return echo

    def _kind(self, source: AudioSource, sink: AudioSink | None) -> EchoKind:
        if self._mode != "auto":
            return self._mode
        return "cancel" if isinstance(source, TimedSource) and isinstance(sink, ReportingSink) else "off"

    def _on_failure(self, error: Exception) -> None:
        # Not at once: it happens while the uplink reads, and the application is told.
        asyncio.get_running_loop().call_soon(self._on_echo_error, error)

    def _on_device_event(self, event: "DeviceEvent") -> None:
        if self._echo is not None and event.kind in ("device_restored", "device_changed"):
            self._echo.reset()
        self._on_device(event)

    def _let_go(self) -> None:
        for listening in self._listening:
            listening.end()
        self._listening.clear()
        self._echo, self._told_of_played = None, False


class _Listening:
    """Listens to what an object tells through one of its attributes, beside whoever listens there already."""

    def __init__(self, owner: Any, attribute: str, listener: Callable[..., None]) -> None:
        self._owner, self._attribute, self._listener = owner, attribute, listener
        self._before: Callable[..., None] | None = getattr(owner, attribute)
        setattr(owner, attribute, self._tell)

    def _tell(self, *values: Any) -> None:
        self._listener(*values)
        if self._before is not None:
            self._before(*values)

    def end(self) -> None:
        """Leaves the attribute as it was, unless somebody else has set it meanwhile."""
        if getattr(self._owner, self._attribute) == self._tell:
            setattr(self._owner, self._attribute, self._before)
