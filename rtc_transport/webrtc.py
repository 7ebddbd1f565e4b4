"""`WebRTCTransport`: the realtime transport over WebRTC."""

import asyncio
import logging
import math
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from aiortc import RTCIceServer

from rtc_audio.ports import AudioSink, AudioSource
from rtc_signaling import DEFAULT_BASE_URL, SdpAnswer, SignalingError, resolve_key
from rtc_signaling.client import SdpClient

from .attempt import SharedAttempt
from .call import Call, Place, from_signaling
from .capture import EchoMode
from .errors import ConnectError, ConnectTimeout, NotConnectedError, Stage
from .events.warm import build_validators
from .layer import ApiKey
from .media_shell import MediaShell, text_of
from .peer import PeerEvents
from .protocol.history import HistoryLimits
from .session import SessionConfig
from .tracks import OpusSettings

logger = logging.getLogger("rtc_transport.webrtc")

DEFAULT_MODEL = "gpt-realtime"
HANDLER_GRACE_SECONDS = 0.3
LEAST_STATS_SECONDS = 0.05


@dataclass(frozen=True)
class _Wanted:
    """What connect() was asked for, or is to be asked for if nothing else is said."""

    api_key: ApiKey | None = field(repr=False)
    model: str
    url: str | None = None
    session: SessionConfig = field(default_factory=SessionConfig)
    timeout_seconds: float = 15.0


class WebRTCTransport(MediaShell):
    """Connects to a realtime voice model over WebRTC.

    `source` is what the model hears, `sink` where its voice goes; None is silence and drained. Both are started by
    `connect()` and released by `close()`, and may serve another call afterwards.

    `base_url` is the service (``/realtime/calls`` is appended); `api_key`, `model` and `headers` hold for every connect
    that does not name its own. `body` is the form of the signaling request. `ice_servers` are STUN and TURN servers,
    none by default; of each kind aiortc uses the first only. `opus` says how our voice is encoded, `late` what happens
    to speech that comes after a stall ("keep": played late, "drop": skipped). `record` is a stereo WAV file of what was
    sent (left, mute applied) and what was heard (right), correct to 20 ms; further calls of the same transport are
    written behind the first. It raises AudioFileError if it cannot be written.

    `echo` keeps the voice out of the microphone (`capture.Capture`): "auto" cancels between a `Microphone` and a
    `Speaker` and does nothing else; "cancel", "webrtc" (extra `aec`), "gate" (half duplex) and "off" say so. With
    `push_to_talk` it is muted but for the turns, which begin with the `pre_roll_ms` before `begin_turn()`.
    `stats_interval_seconds`: how often a ``stats`` event comes; None: never. `history` bounds what `history`
    remembers. `http` lends an aiohttp session. A call is hung up when it has been connected for
    `max_duration_seconds`, with that as the `reason` of ``disconnected``; None: as long as the service allows.
    """

    def __init__(
        self,
        source: AudioSource | None = None,
        sink: AudioSink | None = None,
        *,
        base_url: str = DEFAULT_BASE_URL,
        api_key: ApiKey | None = None,
        model: str | None = None,
        body: Literal["auto", "raw", "multipart"] = "auto",
        headers: Mapping[str, str] | None = None,
        http: Any = None,
        allow_plain_http: bool = False,
        ice_servers: Sequence[RTCIceServer] = (),
        opus: OpusSettings | None = None,
        late: Literal["keep", "drop"] = "keep",
        record: str | os.PathLike[str] | None = None,
        echo: EchoMode = "auto",
        push_to_talk: bool = False,
        pre_roll_ms: float = 200,
        stats_interval_seconds: float | None = None,
        history: HistoryLimits | None = None,
        max_duration_seconds: float | None = None,
    ) -> None:
        if max_duration_seconds is not None and not 0 < max_duration_seconds < math.inf:
            raise ValueError(
                f"max_duration_seconds={max_duration_seconds:g}: need a positive number, or None"
            )
        self._max_duration_seconds = max_duration_seconds
        self._opus = opus or OpusSettings()
        super().__init__(
            source,
            sink,
            opus=self._opus,
            late=late,
            record=record,
            echo=echo,
            push_to_talk=push_to_talk,
            pre_roll_ms=pre_roll_ms,
            stats_interval_seconds=stats_interval_seconds,
            history=history,
        )
        self._base_url = base_url
        self._defaults = _Wanted(api_key, model or DEFAULT_MODEL)
        self._client = SdpClient(
            base_url=base_url, body=body, headers=headers, http=http, allow_plain_http=allow_plain_http
        )
        self._ice_servers = tuple(ice_servers)
        self._call_id: str | None = None
        self._wanted: _Wanted | None = None
        self._attempt: SharedAttempt | None = None
        self._closers: set[asyncio.Task[Any]] = set()
        self._ready: asyncio.Future[None] | None = None
        self._closing: asyncio.Task[None] | None = None
        self._warming: asyncio.Task[None] | None = None
        self._time_limit: asyncio.Task[None] | None = None
        self._hanging_up = False

    # ---- connect

    @property
    def call_id(self) -> str | None:
        return self._call_id

    async def connect(
        self,
        *,
        api_key: ApiKey | None = None,
        model: str | None = None,
        url: str | None = None,
        session: SessionConfig | Mapping[str, Any] | None = None,
        timeout_seconds: float = 15.0,
    ) -> None:
        config = SessionConfig.coerce(session)
        chosen = model or config.model or self._defaults.model
        wanted = _Wanted(api_key or self._defaults.api_key, chosen, url, config, timeout_seconds)
        if self._closing is not None:
            await asyncio.shield(self._closing)
        if self._status == "connected":
            if wanted != self._wanted:
                logger.warning("already connected: the options of this connect() are ignored")
            return
        if self._attempt is None:
            self._wanted = wanted
            self._attempt = SharedAttempt(self._run_attempt(wanted), "connect")
        await self._attempt.join()

    async def _run_attempt(self, wanted: _Wanted) -> None:
        """The attempt belongs to the transport: it ends with the connection or with everything taken down."""
        attempt = self._attempt
        assert attempt is not None  # tasks start after their maker has gone on
        self._marks = {"began": self._now()}
        self._set_status("connecting")
        reason: str | None = None
        try:
            async with asyncio.timeout(wanted.timeout_seconds) as deadline:
                await self._establish(wanted)
        except TimeoutError as error:
            if not deadline.expired():
                reason = str(error)
                raise
            refusal = ConnectTimeout(self._stage, f"not done within {wanted.timeout_seconds:g} s")
            reason = str(refusal)
            raise refusal from error
        except asyncio.CancelledError:
            if attempt.refusal is not None:
                raise attempt.refusal from None
            raise
        except Exception as error:
            reason = str(error)
            raise
        finally:
            self._attempt = None
            if self._status != "connected":
                await asyncio.shield(self._begin_closing(reason))

    @property
    def _stage(self) -> Stage:
        if self._call is None:
            return "key"
        return self._call.stage

    async def _establish(self, wanted: _Wanted) -> None:
        if self._warming is None:
            self._warming = asyncio.get_running_loop().create_task(_warm_up(), name="build validators")
        try:
            key = await resolve_key(wanted.api_key)
        except SignalingError as error:
            raise from_signaling(error, "key") from error
        self._marks["key"] = self._now()
        self._pulse.start()
        await self._media.start_source()
        self._call = call = Call(
            Place(self._client, key, wanted.url, self._base_url),
            self._media.read,
            self._media.voice,
            PeerEvents(message=self._on_message, closed=self._on_lost),
            self._next_message,
            opus=self._opus,
            packets=self._media,
            ice_servers=self._ice_servers,
            on_track_error=self.source_failed,
            on_skip=self._media.uplink.skip,
        )
        fields = {**wanted.session.to_update(), "type": "realtime", "model": wanted.model}
        await call.establish(fields, timeout_seconds=wanted.timeout_seconds, on_answer=self._on_answer)
        await self._media.start_sink()
        self._ready = asyncio.get_running_loop().create_future()
        now = self._now()
        self._perform(self._core.open(wanted.session, now, limit=call.message_limit, epoch=time.time() - now))
        await self._ready

    def _on_answer(self, answer: SdpAnswer) -> None:
        self._call_id = answer.call_id

    def _session_ready(self) -> None:
        assert self._call is not None
        self._marks.update({str(stage): at for stage, at in self._call.peer.progress.at.items()})
        self._marks["signaling"] = self._call.signaled_at or self._now()
        self._marks["session"] = self._now()
        self._media.release()
        if self._ready is not None and not self._ready.done():
            self._ready.set_result(None)
        if self._max_duration_seconds is not None:
            limit = self._end_in_time(self._max_duration_seconds)
            self._time_limit = asyncio.get_running_loop().create_task(limit, name="max duration")
        self._set_status("connected")

    def _session_failed(self, error: ConnectError) -> None:
        if self._ready is not None and not self._ready.done():
            self._ready.set_exception(error)

    # ---- the end

    async def close(self) -> None:
        caller = asyncio.current_task()
        assert caller is not None  # a coroutine runs in a task
        self._closers.add(caller)
        try:
            if self._attempt is not None:
                reason = "close() was called before the connection was established"
                await self._attempt.abort(ConnectError(self._stage, reason))
            if self._status != "disconnected" or self._closing is not None:
                await asyncio.shield(self._begin_closing(None))
            if self._status == "disconnected":  # no handler has connected again
                await self._media.stop()  # a transport that never connected holds its source and sink, too
                await self._emitter.settle(HANDLER_GRACE_SECONDS, self._closers)
        finally:
            self._closers.discard(caller)

    async def hangup(self) -> None:
        await self._hang_up(None)
        await self.close()

    async def _hang_up(self, reason: str | None) -> None:
        """Ends the call at the service, then here, also when cancelled; that the service is faster is no loss."""
        call = self._call
        if call is None or self._status != "connected" or self._hanging_up:
            return
        self._hanging_up = True
        try:
            await call.hangup()
        except SignalingError as error:
            self._report(f"the call was not ended at the service: {error}", "transport", error)
        finally:
            self._hanging_up = False
            if self._call is call:
                self._begin_closing(reason)

    async def _end_in_time(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
        await self._hang_up(f"the call has lasted for max_duration_seconds={seconds:g}")

    def _begin_closing(self, reason: str | None) -> "asyncio.Task[None]":
        """The one end of life: made once per call, awaited through a shield."""
        if self._closing is None:
            self._closing = asyncio.get_running_loop().create_task(
                self._close(reason), name="close transport"
            )
        return self._closing

    async def _close(self, reason: str | None) -> None:
        try:
            self._set_status("disconnecting", reason)
            self._turns.drop()
            self._pulse.stop()
            call, self._call = self._call, None
            if self._ready is not None and not self._ready.done():
                self._ready.cancel()
            self._end_conversation(reason or "the transport was closed")
            ends = [self._media.stop(), self._stop_helpers()]
            if call is not None:
                ends.append(call.close())
            for outcome in await asyncio.gather(*ends, return_exceptions=True):
                if isinstance(outcome, Exception):
                    self._report(f"while closing: {text_of(outcome)}", "transport", outcome)
        finally:
            self._call_id = None
            self._closing = None
            self._set_status("disconnected", reason)
            self._emitter.end_iterators()

    async def _stop_helpers(self) -> None:
        helpers = [task for task in (self._warming, self._time_limit) if task is not None]
        self._warming = self._time_limit = None
        for task in helpers:
            task.cancel()
        await asyncio.gather(*helpers, return_exceptions=True)

    def _on_lost(self, reason: str) -> None:
        """The connection ended by itself: the call is over, and everybody is told why."""
        if self._status == "connected":
            if self._hanging_up:
                return
            self._report(f"the connection was lost: {reason}", "transport")
            self._begin_closing(reason)
        elif self._ready is not None and not self._ready.done():
            self._ready.set_exception(ConnectError("session", reason))

    def _inbox_overflow(self) -> None:
        self._on_lost("the peer sends more events than can be handled")

    # ---- what the shell asks

    async def drain(self) -> None:
        call, serial = self._call, self._core.last_serial
        if call is None:
            raise NotConnectedError(f"the transport is {self._status}: connect() first")
        await call.drained(lambda: self._core.holds(serial))

    def _pump(self) -> None:
        if self._call is not None:
            self._call.pump()


async def _warm_up() -> None:
    """Builds validators a bit at a time while the network is waited for, not when the first event of a type comes."""
    for _ in build_validators():
        await asyncio.sleep(0.001)
