"""``rtc-transport call``: one call from a file into a file."""

import asyncio
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from rtc_audio.files import FileSink, FileSource
from rtc_transport.errors import ConnectError, ConnectionLost
from rtc_transport.events.transport import Disconnected, ErrorReport
from rtc_transport.report import draw_call
from rtc_transport.session import SessionConfig
from rtc_transport.trace import latencies
from rtc_transport.webrtc import WebRTCTransport

from . import running
from .ending import EndOfCall, Reason
from .files import check_report, open_events
from .record import CallRecord
from .running import EXPECTED, explain
from .summary import Failure, Outcome, Summary
from .views import Phase, View, make_view

TICK_SECONDS = 0.1
EXIT_CODES: dict[Outcome, int] = {"failed": running.FAILED, "interrupted": running.INTERRUPTED}


@dataclass(frozen=True)
class CallOptions:
    """What the command line asked for, checked as far as it can be without a file or a network."""

    input: Path
    output: Path
    session: SessionConfig
    model: str | None = None
    url: str | None = None
    loopback: bool = False
    key: str | None = None
    allow_plain_http: bool = False
    timeout_seconds: float = 15.0
    max_seconds: float | None = None
    linger_seconds: float = 10.0
    events: Path | None = None
    report: Path | None = None

    @property
    def peer(self) -> str:
        """Who is called, in words."""
        if self.loopback:
            return "the embedded server"
        return (urlsplit(self.url).hostname or self.url) if self.url else "OpenAI"


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
    summary = job.summary()
    if options.report is not None and summary.connect_seconds:
        await asyncio.to_thread(draw_call, record.trace, options.report, *summary.titles())
    summary.print(running.human())
    if json_output:
        running.print_json(summary.as_dict())
    if summary.failure is not None:
        running.print_error(summary.failure.message)
    return EXIT_CODES.get(summary.outcome, running.DONE)


class CallJob:
    """One call: connect, wait for its end, close."""

    def __init__(self, options: CallOptions, source: FileSource, sink: FileSink, record: CallRecord) -> None:
        self.options, self.source, self.sink, self.record = options, source, sink, record
        self.outcome: Outcome = "interrupted"
        self.failure: Failure | None = None
        self._call_id: str | None = None
        self._sent_seconds = self._seconds = 0.0

    async def run(self) -> None:
        """What is expected to go wrong, and Ctrl-C, become the outcome; after it no connection is left."""
        try:
            async with AsyncExitStack() as stack:
                view = stack.enter_context(make_view(running.human(), self.source.duration_seconds))
                self.outcome = await self._converse(await self._transport(stack), view)
        except asyncio.CancelledError:
            self.outcome = "interrupted"
        except EXPECTED as error:
            self.failure = failure_of(error)
        self._seconds = self.record.seconds

    async def _transport(self, stack: AsyncExitStack) -> WebRTCTransport:
        base_url: dict[str, Any] = {}
        if self.options.loopback:
            from rtc_transport.server import RealtimeServer

            server = await stack.enter_async_context(RealtimeServer())
            base_url = {"base_url": server.url}
        plain = self.options.allow_plain_http
        transport = WebRTCTransport(self.source, allow_plain_http=plain, **base_url)
        self.record.listen(transport)
        return await stack.enter_async_context(transport)

    async def _converse(self, transport: WebRTCTransport, view: View) -> Reason:
        options = self.options
        lost: asyncio.Future[str] = asyncio.get_running_loop().create_future()

        def on_disconnected(event: Disconnected) -> None:
            if not lost.done():
                lost.set_result(event.reason or "it was closed")

        transport.on("disconnected", on_disconnected)
        transport.on("error", lambda report: self._tell(report, view))
        view.show("connecting", 0.0, 0.0)
        self.record.begin()
        await transport.connect(
            api_key="loopback" if options.loopback else options.key,
            model=options.model,
            url=options.url,
            session=options.session,
            timeout_seconds=options.timeout_seconds,
        )
        self._call_id = transport.call_id
        await transport.set_sink(self.sink)  # not before: a call that fails leaves an older file as it is
        while not lost.done():
            if reason := self._tick(transport, view):
                return reason
            await asyncio.wait([lost], timeout=TICK_SECONDS)
        raise ConnectionLost(lost.result())

    def _tick(self, transport: WebRTCTransport, view: View) -> Reason | None:
        record = self.record
        record.take(transport.stats())
        if self.sink.failure is not None:
            raise self.sink.failure
        self._sent_seconds = self.source.position_seconds
        view.show(self._phase, self._sent_seconds, record.heard_seconds)
        return record.ending.check(record.seconds, record.stats.playout_delay_ms / 1000 + 2 * TICK_SECONDS)

    def _tell(self, report: ErrorReport, view: View) -> None:
        if report.source != "transport":  # how the connection ends is told at the end
            view.note(f"{report.source}: {report.message}")

    @property
    def _phase(self) -> Phase:
        if self.record.ending.sounding:
            return "listening"
        if not self.record.source_ended:
            return "speaking"
        return "waiting" if self.record.ending.waiting else "closing"

    def _late_failure(self) -> Failure | None:
        """What went wrong without ending the call."""
        if self.sink.failure is not None:
            return failure_of(self.sink.failure)
        if self.record.minutes.failure is not None:
            return Failure(f"the response failed: {self.record.minutes.failure}")
        if self.source.failure is None:
            return None
        reason = explain(self.source.failure)
        return Failure(f"cannot read {self.options.input} beyond {self._sent_seconds:.1f} s: {reason}")

    def summary(self) -> Summary:
        """What there is to tell, once the files are closed."""
        if self.failure is None and self.outcome != "interrupted":
            self.failure = self._late_failure()
        record, options = self.record, self.options
        connected = "session" in record.stats.connect_seconds
        written = {"output": options.output, "report": options.report} if connected else {}
        files = {**written, "events": options.events}
        return Summary(
            outcome="failed" if self.failure is not None else self.outcome,
            peer=options.peer,
            seconds=self._seconds,
            linger_seconds=options.linger_seconds,
            call_id=self._call_id,
            connect_seconds={str(stage): span for stage, span in record.stats.connect_seconds.items()},
            sent_seconds=self._sent_seconds,
            heard_seconds=record.heard_seconds,
            recorded_seconds=self.sink.seconds_written,
            latencies_seconds=tuple(answered - spoken for spoken, answered in latencies(record.trace)),
            stats=record.numbers(),
            lines=record.minutes.lines,
            responses=record.minutes.responses,
            files={purpose: str(path) for purpose, path in files.items() if path is not None},
            failure=self.failure,
        )


def failure_of(error: BaseException) -> Failure:
    """The error as one line, with the stage, status and code of a failed connect."""
    message = explain(error)
    if isinstance(error, ConnectError):
        return Failure(message, error.stage, error.status, error.code)
    return Failure(message)
