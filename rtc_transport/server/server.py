"""The embedded realtime server: HTTP, calls and their owner."""

import asyncio
import logging
import secrets
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal, Self

from rtc_signaling.canned import canned_response
from rtc_signaling.errors import CallRejected
from rtc_signaling.server import SignalingServer, create_app
from rtc_signaling.urls import is_loopback
from rtc_transport.errors import ConnectError
from rtc_transport.tracks import OpusSettings

from .call import Call
from .config import initial_session
from .eventlog import LoggedEvent
from .faults import Faults
from .items import Json
from .problems import EventError
from .replies import Parrot, Reply, Tone
from .script import Script
from .session import Session, SessionOptions

if TYPE_CHECKING:
    from aiohttp import web

logger = logging.getLogger("rtc_transport.server")

KEPT_ENDED_CALLS = 10
_ECHOED_FIELDS = ("id", "object", "expires_at", "client_secret")
"""What a session object has when it comes from the service, and is no setting."""


class RealtimeServer:
    """A realtime voice service on this machine: real WebRTC, real events, no model. An async context manager.

    ::

        async with RealtimeServer() as server:
            await transport.connect(api_key="any", url=server.calls_url)

    `reply` is "parrot", "tone", a script (a path, see `script`) or a `Reply` of your own, which then serves every
    call. `keys`: accepted API keys; None accepts any. `port` 0 takes a free one. `faults` are what goes wrong on
    purpose. With `pause` nothing is sent between turns, else silence. A session ends after `max_session_seconds`. The
    model thinks for `latency_seconds`, then generates `generation_speed` times faster than it speaks. `opus` is how
    its voice is encoded. More calls than `max_calls` at once are refused. `on_event` sees every event of every call
    as it passes; it must not wait.
    """

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        keys: Collection[str] | None = None,
        reply: Reply | Literal["parrot", "tone"] | str | Path = "parrot",
        faults: Faults | None = None,
        pause: bool = False,
        max_session_seconds: float = 3600.0,
        generation_speed: float = 2.0,
        latency_seconds: float = 0.0,
        max_calls: int = 100,
        opus: OpusSettings | None = None,
        on_event: Callable[[LoggedEvent], None] | None = None,
    ) -> None:
        """Raises `ScriptError` for a script that cannot be used, ValueError for other options."""
        if max_session_seconds <= 0 or generation_speed <= 0 or latency_seconds < 0 or max_calls < 1:
            raise ValueError("durations, the generation speed and the number of calls must be positive")
        self._faults = faults or Faults()
        self._reply = _reply(reply)
        self._pause = pause
        self._options = SessionOptions(
            max_session_seconds=max_session_seconds,
            generation_speed=generation_speed,
            latency_seconds=latency_seconds,
            acknowledge=not self._faults.no_acknowledgement,
            reject_update=self._faults.reject_update,
        )
        self._max_calls = max_calls
        self._opus = opus or OpusSettings()
        self._on_event = on_event or (lambda event: None)
        self._loopback = is_loopback(host)
        self._calls: dict[str, Call] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._closed = False
        app = create_app(self, keys=keys, intercept=self._intercept)
        self._http = SignalingServer(app, host=host, port=port)

    @property
    def url(self) -> str:
        """The base URL, ``http://127.0.0.1:PORT/v1``."""
        return self._http.url

    @property
    def calls_url(self) -> str:
        """Where offers are posted."""
        return f"{self.url}/realtime/calls"

    @property
    def calls(self) -> Mapping[str, Call]:
        """The calls by id in the order they came: those under way and the last ten that ended."""
        return MappingProxyType(self._calls)

    async def start(self) -> None:
        """Listens; SignalingError if the address cannot be had."""
        await self._http.start()

    async def aclose(self) -> None:
        """Ends every call and stops listening, within two seconds; idempotent."""
        self._closed = True
        for call in self._calls.values():
            call.end("the server is shutting down")
        await asyncio.gather(self._http.aclose(), *self._tasks.values(), return_exceptions=True)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    # ---- what the HTTP side asks for (rtc_signaling.server.CallHandler)

    async def answer(
        self, offer_sdp: str, session: dict[str, object] | None, secret: bool
    ) -> tuple[str, str]:
        """Opens a call; raises CallRejected. Cancelled, it leaves nothing open."""
        if self._faults.never_answer:
            await asyncio.Event().wait()
        await asyncio.sleep(self._faults.answer_delay_seconds)
        if self._closed or len(self._tasks) >= self._max_calls:
            raise _no_more_calls()
        call = self._make_call(session)
        try:
            answer = await call.answer(offer_sdp)
        except ConnectError as error:
            await call.close()
            raise CallRejected(
                f"{error.reason[:1].upper()}{error.reason[1:]}.", code="invalid_offer"
            ) from error
        except BaseException:  # cancelled, or a crash that becomes a 500: nothing stays open
            await call.close()
            raise
        if self._closed:  # meanwhile
            await call.close()
            raise _no_more_calls()
        self._adopt(call)
        return call.id, answer

    async def hangup(self, call_id: str) -> bool:
        """Ends a call; False if none of that id is under way."""
        if call_id not in self._tasks:
            return False
        self._calls[call_id].end("hung up over HTTP")
        return True

    async def _intercept(self, request: "web.Request") -> "web.StreamResponse | None":
        """A refusal on demand, of calls only."""
        faults = self._faults
        if faults.status is None or request.method != "POST" or not request.path.endswith("/calls"):
            return None
        await asyncio.sleep(faults.answer_delay_seconds)
        match faults.body:
            case "json":
                message = f"Refused on purpose with status {faults.status}."
                raise CallRejected(message, code="refused_on_purpose", status=faults.status)
            case "html":
                html = f"<html><head><title>{faults.status} Refused</title></head><body>No.</body></html>"
                return canned_response(faults.status, html, "text/html")
        return canned_response(faults.status)

    # ---- calls and their tasks

    def _make_call(self, given: Mapping[str, object] | None) -> Call:
        given = {key: value for key, value in (given or {}).items() if key not in _ECHOED_FIELDS}
        try:
            config = initial_session(given)
        except EventError as error:
            raise CallRejected(error.message, code=error.code, param=error.param) from error
        return Call(
            f"rtc_{secrets.token_hex(12)}",
            lambda limit, peer_limit: self._make_session(config, "model" in given, limit, peer_limit),
            faults=self._faults,
            pause=self._pause,
            loopback=self._loopback,
            opus=self._opus,
            on_event=self._on_event,
        )

    def _make_session(self, config: Json, model_fixed: bool, limit: int, peer_limit: int | None) -> Session:
        reply = self._reply
        return Session(
            config,
            reply.fresh() if isinstance(reply, Script) else reply,
            new_id=lambda prefix: f"{prefix}_{secrets.token_hex(10)}",
            now=asyncio.get_running_loop().time(),
            model_fixed=model_fixed,
            expires_at=int(time.time() + self._options.max_session_seconds),
            options=replace(self._options, max_event_bytes=limit, peer_max_event_bytes=peer_limit),
        )

    def _adopt(self, call: Call) -> None:
        self._calls[call.id] = call
        task = asyncio.get_running_loop().create_task(call.run(), name=f"call {call.id}")
        self._tasks[call.id] = task
        task.add_done_callback(lambda task: self._on_call_done(call, task))

    def _on_call_done(self, call: Call, task: asyncio.Task[None]) -> None:
        del self._tasks[call.id]
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("call %s failed", call.id, exc_info=error)
        ended = [call_id for call_id in self._calls if call_id not in self._tasks]
        for call_id in ended[:-KEPT_ENDED_CALLS]:
            del self._calls[call_id]


def _no_more_calls() -> CallRejected:
    message = "The server takes no more calls."
    return CallRejected(message, code="rate_limit_exceeded", status=429, type="rate_limit_error")


def _reply(reply: Reply | str | Path) -> Reply:
    match reply:
        case "parrot":
            return Parrot()
        case "tone":
            return Tone()
        case str() | Path():
            return Script.load(reply)
    return reply
