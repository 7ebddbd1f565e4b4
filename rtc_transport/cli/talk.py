"""``rtc-transport talk``: a conversation through the microphone and the loudspeaker."""

import asyncio
import logging
from contextlib import AbstractContextManager, AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

from rtc_audio.devices import Microphone, Speaker
from rtc_audio.errors import NoDevice, PortAudioMissing
from rtc_audio.levels import LevelMeter
from rtc_transport.capture import EchoMode
from rtc_transport.errors import TransportError
from rtc_transport.events import to_wire
from rtc_transport.events.devices import DeviceReport
from rtc_transport.events.transport import Audio, InputAudio
from rtc_transport.session import SessionConfig, merge
from rtc_transport.webrtc import WebRTCTransport

from . import running
from .ending import EndOfCall
from .files import check_report, open_events, wav_seconds
from .job import TICK_SECONDS, Job, Target, finish
from .keyboard import Keyboard
from .quiet import drivers_silenced
from .record import DEVICE_EVENTS, CallRecord
from .running import Failure, WrongUsage, failure_of
from .summary import Outcome, Summary
from .talk_views import Mood, TalkState, TalkView, make_talk_view

WITHOUT_DEVICES = "; without devices: rtc-transport call --input FILE --output FILE"
NO_KEYS = "--push-to-talk needs a terminal to read the space key from"
GAPS = ("device_underrun", "device_overflow")  # told as a sum, at the end
DEVICES = {"input": "microphone", "output": "loudspeaker"}


@dataclass(frozen=True, kw_only=True)
class TalkOptions(Target):
    """What the command line asked for."""

    input_device: str | int | None = None
    output_device: str | int | None = None
    push_to_talk: bool = False
    echo: EchoMode = "auto"
    record: Path | None = None

    @property
    def keys(self) -> str:
        """The keys there are, for people."""
        turn = "space begin and end your turn · " if self.push_to_talk else ""
        return f"{turn}m mute · i interrupt · q quit"


def device_named(option: str, text: str | None) -> str | int | None:
    """A device as the command line names it: by its index, or by (part of) its name. Raises WrongUsage for no name."""
    if text is not None and not text.strip():
        raise WrongUsage(f"{option} needs (part of) a name or an index; rtc-transport devices lists them")
    return int(text) if text is not None and text.isdecimal() else text


def echo_named(text: str) -> EchoMode:
    """An echo mode by its name; raises WrongUsage for others."""
    mode: EchoMode
    for mode in get_args(EchoMode):
        if text == mode:
            return mode
    raise WrongUsage(f"--echo {text}: need one of {', '.join(get_args(EchoMode))}")


def without_turn_detection(session: SessionConfig) -> SessionConfig:
    """The session of a conversation whose turns are begun and ended by hand."""
    return SessionConfig.coerce(merge(to_wire(session), {"audio": {"input": {"turn_detection": None}}}))


async def run_talk(options: TalkOptions, *, json_output: bool = False) -> int:
    """Holds the conversation, tells about it, and returns the exit code; everything opened is closed."""
    check_report(options.report)
    logging.getLogger("rtc_audio.devices").addHandler(logging.NullHandler())  # the view tells of devices
    if options.push_to_talk:
        options = replace(options, session=without_turn_detection(options.session))
    async with AsyncExitStack() as files:
        log = open_events(options.events) if options.events is not None else None
        if log is not None:
            files.callback(log.close)
        job = TalkJob(options, CallRecord(EndOfCall(max_seconds=options.max_seconds), log))
        if options.push_to_talk and not job.keyboard.available:
            raise WrongUsage(NO_KEYS)
        with drivers_silenced():
            await job.run()
        return await finish(job, files, json_output=json_output)


class TalkJob(Job[TalkView]):
    """The call through the devices; ends when somebody wants it to."""

    def __init__(self, options: TalkOptions, record: CallRecord) -> None:
        super().__init__(options, record)
        self.options = options
        self.keyboard = Keyboard(self._on_key)
        self._task = asyncio.current_task()
        self._transport_of_call: WebRTCTransport | None = None
        self._microphone: Microphone | None = None
        self._view_of_call: TalkView | None = None
        self._quit = False
        self._in_turn = self._turn_begun = self._turn_ending = False
        self._turning: set[asyncio.Task[None]] = set()
        self._told_lines = 0
        self._muted = False
        self._user, self._model = LevelMeter(), LevelMeter()

    def _view(self) -> AbstractContextManager[TalkView]:
        return make_talk_view(
            running.human(), self.options.keys if self.keyboard.available else "Ctrl-C quits"
        )

    def _make(self, **where: Any) -> WebRTCTransport:
        options = self.options
        self._microphone = Microphone(options.input_device)
        return WebRTCTransport(
            self._microphone,
            Speaker(options.output_device),
            echo=options.echo,
            push_to_talk=options.push_to_talk,
            record=options.record,
            **where,
        )

    async def _converse(self, transport: WebRTCTransport, view: TalkView) -> Outcome:
        self._transport_of_call, self._view_of_call = transport, view
        transport.on("input_audio", self._on_input_audio)
        transport.on("audio", self._on_audio)
        for name in DEVICE_EVENTS:
            transport.on(name, self._on_device)
        with self.keyboard:
            try:
                return await self._hold(transport, view)
            except asyncio.CancelledError:
                if self._quit:
                    return "hung_up"
                raise
            finally:
                self._tell_lines(view, all_of_them=True)
                await self._leave_turn()

    async def _hold(self, transport: WebRTCTransport, view: TalkView) -> Outcome:
        view.show(TalkState())
        lost = await self._connect(transport, view)
        while not lost.done():
            self._tick(transport, view)
            if self._quit:
                return "hung_up"
            if reason := self.record.ending.check(self.record.seconds):
                return reason
            await asyncio.wait([lost], timeout=TICK_SECONDS)
        raise lost.result()

    def _tick(self, transport: WebRTCTransport, view: TalkView) -> None:
        record, stats = self.record, transport.stats()
        record.take(stats)
        if transport.muted != self._muted:
            self._muted = transport.muted
            record.mute_changed(self._muted)
        self._tell_lines(view)
        lines = record.minutes.lines
        view.show(
            TalkState(
                mood=self._mood(transport),
                seconds=record.seconds,
                user_dbfs=self._user.rms_dbfs,
                model_dbfs=self._model.rms_dbfs,
                speaking=record.ending.sounding,
                response_latency_ms=stats.response_latency_ms,
                rtt_ms=stats.rtt_ms,
                echo_return_loss_db=stats.echo_return_loss_db,
                pending=lines[-1] if self._told_lines < len(lines) else None,
            )
        )

    def _mood(self, transport: WebRTCTransport) -> Mood:
        if self._microphone is not None and self._microphone.device is None:
            return "deaf"
        if self._in_turn:
            if not self._turn_begun:
                return "between"
            return "hushed" if transport.muted else "turn"
        if self._turn_ending:
            return "ending"
        if not transport.muted:
            return "live"
        return "between" if self.options.push_to_talk else "muted"

    def _tell_lines(self, view: TalkView, *, all_of_them: bool = False) -> None:
        """A line is over when the next one has begun, or when the model has said it."""
        minutes = self.record.minutes
        answers = sum(line.speaker == "model" for line in minutes.lines)
        over = not self.record.ending.sounding and minutes.responses >= answers > 0
        last_is_over = over and bool(minutes.lines) and minutes.lines[-1].speaker == "model"
        end = len(minutes.lines) - (not last_is_over and not all_of_them)
        for line in minutes.lines[self._told_lines : max(end, 0)]:
            view.said(line)
        self._told_lines = max(self._told_lines, end)

    # ---- keys

    def _on_key(self, key: str) -> None:
        transport, view = self._transport_of_call, self._view_of_call
        if key in "qQ":
            self._quit = True
            if transport is not None and transport.status == "connecting" and self._task is not None:
                self._task.cancel()
        if transport is None or view is None or transport.status != "connected":
            return
        if key in "mM":
            transport.mute(not transport.muted)
        elif key in "iI":
            transport.interrupt()
        elif key == " " and self.options.push_to_talk:
            self._in_turn = not self._in_turn
            turn = self._begin_turn if self._in_turn else self._end_turn
            task = asyncio.create_task(turn(transport, view), name="turn of the user")
            self._turning.add(task)
            task.add_done_callback(self._turning.discard)

    async def _begin_turn(self, transport: WebRTCTransport, view: TalkView) -> None:
        try:
            if self.record.ending.sounding:
                transport.interrupt()
            await transport.begin_turn()
            self._turn_begun = True
        except TransportError as error:
            self._in_turn = False
            view.note(str(error))

    async def _end_turn(self, transport: WebRTCTransport, view: TalkView) -> None:
        self._turn_begun, self._turn_ending = False, True
        try:
            await transport.end_turn()  # waits until the turn has begun
        except TransportError as error:
            view.note(str(error))
        finally:
            self._turn_begun = self._turn_ending = False

    async def _leave_turn(self) -> None:
        for task in self._turning:
            task.cancel()
        await asyncio.gather(*self._turning, return_exceptions=True)

    # ---- what the transport tells

    def _on_input_audio(self, event: InputAudio) -> None:
        self._user.update(event.pcm, len(event.pcm) / event.rate_hz)

    def _on_audio(self, event: Audio) -> None:
        self._model.update(event.pcm, len(event.pcm) / event.rate_hz)

    def _on_device(self, event: DeviceReport) -> None:
        if self._view_of_call is not None and event.type not in GAPS:
            what = event.type.removeprefix("device_")
            self._view_of_call.note(f"{DEVICES[event.direction]} {what}: {event.device}: {event.reason}")

    # ---- afterwards

    def _failure(self, error: BaseException) -> Failure:
        failure = failure_of(error)
        if isinstance(error, PortAudioMissing | NoDevice):
            return replace(failure, message=failure.message + WITHOUT_DEVICES)
        return failure

    def summary(self) -> Summary:
        options, record = self.options, self.record
        written = {"record": options.record, "report": options.report} if self.connected else {}
        return self._summary(
            {**written, "events": options.events},
            sent_seconds=record.trace.sent.seconds,
            recorded_seconds=wav_seconds(options.record),
            lines_told=True,
        )
