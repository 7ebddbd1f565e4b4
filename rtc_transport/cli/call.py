"""``rtc-transport call``: one call from a file into a file."""

import asyncio
from contextlib import AbstractContextManager, AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rtc_audio.files import FileSink, FileSource
from rtc_transport.webrtc import WebRTCTransport

from . import running
from .ending import EndOfCall, Reason
from .files import check_report, open_events
from .job import TICK_SECONDS, Job, Target, finish
from .record import CallRecord
from .running import Failure, explain, failure_of
from .summary import Summary
from .views import Phase, View, make_view


@dataclass(frozen=True, kw_only=True)
class CallOptions(Target):
    """What the command line asked for."""

    input: Path
    output: Path
    linger_seconds: float = 10.0


async def run_call(options: CallOptions, *, json_output: bool = False) -> int:
    """Makes the call, tells about it, and returns the exit code; everything opened is closed, whatever happens."""
    check_report(options.report)
    async with AsyncExitStack() as files:
        source = FileSource(options.input)
        files.push_async_callback(source.aclose)
        sink = FileSink(options.output, delay="none")  # a file needs no playout buffer
        files.push_async_callback(sink.aclose)
        log = open_events(options.events) if options.events is not None else None
        if log is not None:
            files.callback(log.close)
        record = CallRecord(EndOfCall(options.linger_seconds, options.max_seconds), log)
        job = CallJob(options, source, sink, record)
        await job.run()
        return await finish(job, files, json_output=json_output)


class CallJob(Job[View]):
    """The call that speaks a file."""

    def __init__(self, options: CallOptions, source: FileSource, sink: FileSink, record: CallRecord) -> None:
        super().__init__(options, record)
        self.options, self.source, self.sink = options, source, sink
        self._sent_seconds = 0.0

    def _view(self) -> AbstractContextManager[View]:
        return make_view(running.human(), self.source.duration_seconds)

    def _make(self, **where: Any) -> WebRTCTransport:
        return WebRTCTransport(self.source, **where)

    async def _converse(self, transport: WebRTCTransport, view: View) -> Reason:
        view.show("connecting", 0.0, 0.0)
        lost = await self._connect(transport, view)
        await transport.set_sink(self.sink)  # not before: a call that fails leaves an older file as it is
        while not lost.done():
            if reason := self._tick(transport, view):
                return reason
            await asyncio.wait([lost], timeout=TICK_SECONDS)
        raise lost.result()

    def _tick(self, transport: WebRTCTransport, view: View) -> Reason | None:
        record = self.record
        record.take(transport.stats())
        if self.sink.failure is not None:
            raise self.sink.failure
        self._sent_seconds = self.source.position_seconds
        view.show(self._phase, self._sent_seconds, record.heard_seconds)
        return record.ending.check(record.seconds, record.stats.playout_delay_ms / 1000 + 2 * TICK_SECONDS)

    @property
    def _phase(self) -> Phase:
        if self.record.ending.sounding:
            return "listening"
        if not self.record.source_ended:
            return "speaking"
        return "waiting" if self.record.ending.waiting else "closing"

    def _late_failure(self) -> Failure | None:
        if self.sink.failure is not None:
            return failure_of(self.sink.failure)
        if (failure := super()._late_failure()) is not None or self.source.failure is None:
            return failure
        reason = explain(self.source.failure)
        return Failure(f"cannot read {self.options.input} beyond {self._sent_seconds:.1f} s: {reason}")

    def summary(self) -> Summary:
        options = self.options
        written = {"output": options.output, "report": options.report} if self.connected else {}
        return self._summary(
            {**written, "events": options.events},
            linger_seconds=options.linger_seconds,
            sent_seconds=self._sent_seconds,
            recorded_seconds=self.sink.seconds_written,
        )
