"""What every call of the command line has in common: whom to call, the way through the call, what to tell of it."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import AbstractContextManager, AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar
from urllib.parse import urlsplit

from rtc_transport.errors import ConnectionLost
from rtc_transport.events.transport import Disconnected, ErrorReport
from rtc_transport.report import ReportError, draw_call
from rtc_transport.session import SessionConfig
from rtc_transport.trace import latencies
from rtc_transport.webrtc import WebRTCTransport

from . import running
from .files import OutputError
from .record import CallRecord
from .running import EXPECTED, Failure, failure_of
from .summary import Outcome, Summary

TICK_SECONDS = 0.1
EXIT_CODES: dict[Outcome, int] = {"failed": running.FAILED, "interrupted": running.INTERRUPTED}


@dataclass(frozen=True, kw_only=True)
class Target:
    """Whom to call and with what; checked as far as it can be without a file or a network."""

    session: SessionConfig
    model: str | None = None
    url: str | None = None
    loopback: bool = False
    key: str | None = None
    allow_plain_http: bool = False
    timeout_seconds: float = 15.0
    max_seconds: float | None = None
    events: Path | None = None
    report: Path | None = None

    @property
    def peer(self) -> str:
        """Who is called, in words."""
        if self.loopback:
            return "the embedded server"
        return (urlsplit(self.url).hostname or self.url) if self.url else "OpenAI"


class Notes(Protocol):
    """A view of a call, as far as every call has one."""

    def note(self, text: str) -> None:
        """One line that stays."""
        ...


ViewT = TypeVar("ViewT", bound=Notes)


class Job(ABC, Generic[ViewT]):
    """One call: connect, wait for its end, close."""

    def __init__(self, target: Target, record: CallRecord) -> None:
        self.target = target
        self.record = record
        self.outcome: Outcome = "interrupted"
        self.failure: Failure | None = None
        self._call_id: str | None = None
        self._seconds = 0.0

    @abstractmethod
    def _view(self) -> AbstractContextManager[ViewT]:
        """How the call shows itself."""

    @abstractmethod
    def _make(self, **where: Any) -> WebRTCTransport:
        """The transport; `where` are options on whom it calls."""

    @abstractmethod
    async def _converse(self, transport: WebRTCTransport, view: ViewT) -> Outcome:
        """The call from its connect to its end; raises what ends it otherwise."""

    async def run(self) -> None:
        """What is expected to go wrong, and Ctrl-C, become the outcome; after it no connection is left."""
        try:
            async with AsyncExitStack() as stack:
                view = stack.enter_context(self._view())
                self.outcome = await self._converse(await self._transport(stack), view)
        except asyncio.CancelledError:
            self.outcome = "interrupted"
        except EXPECTED as error:
            self.failure = self._failure(error)
        self._seconds = self.record.seconds

    async def _transport(self, stack: AsyncExitStack) -> WebRTCTransport:
        where: dict[str, Any] = {"allow_plain_http": self.target.allow_plain_http}
        if self.target.loopback:
            from rtc_transport.server import RealtimeServer

            server = await stack.enter_async_context(RealtimeServer())
            where["base_url"] = server.url
        transport = self._make(**where)
        self.record.listen(transport)
        return await stack.enter_async_context(transport)

    async def _connect(self, transport: WebRTCTransport, view: ViewT) -> "asyncio.Future[ConnectionLost]":
        """Connects; the future is set when the connection has ended."""
        target = self.target
        lost: asyncio.Future[ConnectionLost] = asyncio.get_running_loop().create_future()

        def on_disconnected(event: Disconnected) -> None:
            if not lost.done():
                lost.set_result(ConnectionLost(event.reason or "it was closed"))

        def on_error(report: ErrorReport) -> None:
            # How the connection ends is told at the end, and why it does not come about when connect() fails.
            refused = report.source == "server" and transport.status == "connecting"
            if report.source != "transport" and not refused:
                view.note(f"{report.source}: {report.message}")

        transport.on("disconnected", on_disconnected)
        transport.on("error", on_error)
        self.record.begin()
        await transport.connect(
            api_key="loopback" if target.loopback else target.key,
            model=target.model,
            url=target.url,
            session=target.session,
            timeout_seconds=target.timeout_seconds,
        )
        self._call_id = transport.call_id
        return lost

    @property
    def connected(self) -> bool:
        """Whether the call came about."""
        return "session" in self.record.stats.connect_seconds

    def _failure(self, error: BaseException) -> Failure:
        """What is told of an error that ends the call."""
        return failure_of(error)

    def _late_failure(self) -> Failure | None:
        """What went wrong without ending the call."""
        log, path = self.record.log, self.target.events
        if log is not None and log.failure is not None and path is not None:
            return failure_of(OutputError(path, log.failure))
        if self.record.minutes.failure is not None:
            return Failure(f"the response failed: {self.record.minutes.failure}")
        return None

    @abstractmethod
    def summary(self) -> Summary:
        """What there is to tell, once the files are closed."""

    def _summary(self, files: Mapping[str, Path | None], **fields: Any) -> Summary:
        """`files` are what was written; `fields` what only this kind of call knows."""
        if self.failure is None and self.outcome != "interrupted":
            self.failure = self._late_failure()
        record = self.record
        return Summary(
            outcome="failed" if self.failure is not None else self.outcome,
            peer=self.target.peer,
            seconds=self._seconds,
            call_id=self._call_id,
            connect_seconds={str(stage): span for stage, span in record.stats.connect_seconds.items()},
            heard_seconds=record.heard_seconds,
            latencies_seconds=tuple(answered - spoken for spoken, answered in latencies(record.trace)),
            stats=record.numbers(),
            lines=record.minutes.lines,
            responses=record.minutes.responses,
            files={purpose: str(path) for purpose, path in files.items() if path is not None},
            failure=self.failure,
            **fields,
        )


async def finish(job: Job[Any], files: AsyncExitStack, *, json_output: bool) -> int:
    """Closes the files, draws the picture if it was asked for, tells how the call was, and returns the exit code."""
    return await running.unhurried(_finish(job, files, json_output=json_output))


async def _finish(job: Job[Any], files: AsyncExitStack, *, json_output: bool) -> int:
    await files.aclose()
    summary, report = job.summary(), job.target.report
    if report is not None and summary.connect_seconds:
        try:
            await asyncio.to_thread(draw_call, job.record.trace, report, *summary.titles())
        except ReportError as error:
            written = {purpose: path for purpose, path in summary.files.items() if purpose != "report"}
            failure = summary.failure or failure_of(error)
            summary = replace(summary, outcome="failed", failure=failure, files=written)
    summary.print(running.human())
    if json_output:
        running.print_json(summary.as_dict())
    if summary.failure is not None:
        running.print_error(summary.failure.message)
    return EXIT_CODES.get(summary.outcome, running.DONE)
