"""`WebRTCTransport`: the realtime transport over WebRTC."""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from aiortc import RTCIceServer

from rtc_audio.ports import AudioSink, AudioSource, Pcm
from rtc_audio.uplink import Uplink
from rtc_signaling import DEFAULT_BASE_URL, SdpAnswer, SignalingError, resolve_key
from rtc_signaling.client import SdpClient

from .call import Call, Place, from_signaling
from .errors import ConnectError, ConnectTimeout, NotConnectedError, Stage
from .events.transport import Audio, InputAudio, SourceEnded
from .layer import ApiKey
from .peer import PeerEvents
from .protocol.effects import MarkVoice, Playback
from .session import SessionConfig
from .shell import ProtocolShell
from .stats import CallStats, collect
from .tracks import OpusSettings
from .voice import RemoteVoice

logger = logging.getLogger("rtc_transport.webrtc")

DEFAULT_MODEL = "gpt-realtime"
CLOSE_TIMEOUT_SECONDS = 2.0


@dataclass(frozen=True)
class _Wanted:
    """What connect() was asked for."""

    api_key: ApiKey | None
    model: str
    url: str | None
    session: SessionConfig
    timeout_seconds: float


class WebRTCTransport(ProtocolShell):
    """Connects to a realtime voice model over WebRTC.

    `source` is what the model hears, `sink` where its voice goes; None is silence and drained. Both are started by
    `connect()` and released by `close()`, and may serve another call afterwards.

    `base_url` is the service (``/realtime/calls`` is appended); `api_key`, `model` and `headers` hold for every
    connect that does not name its own. `body` is the form of the signaling request. `ice_servers` are STUN and TURN
    servers, none by default. `opus` says how our voice is encoded, `late` what happens to speech that comes after a
    stall ("keep": played late, "drop": skipped). `http` lends an aiohttp session.
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
    ) -> None:
        super().__init__()
        self._source, self._sink = source, sink
        self._base_url, self._api_key, self._model = base_url, api_key, model
        self._client = SdpClient(
            base_url=base_url, body=body, headers=headers, http=http, allow_plain_http=allow_plain_http
        )
        self._ice_servers = tuple(ice_servers)
        self._opus = opus or OpusSettings()
        self._uplink = Uplink(
            self._opus.rate_hz, on_error=self._on_source_error, on_ended=self._on_source_ended
        )
        self._uplink.held = True
        self._uplink.add_tap(self._on_sent)
        self._voice = RemoteVoice(late=late, on_error=lambda e: self._report(_text(e), "sink", e))
        self._voice_mark: MarkVoice | None = None
        self._call: Call | None = None
        self._call_id: str | None = None
        self._wanted: _Wanted | None = None
        self._attempt: asyncio.Task[None] | None = None
        self._attempt_waiters = 0
        self._refusal: ConnectError | None = None
        self._ready: asyncio.Future[None] | None = None
        self._closing: asyncio.Task[None] | None = None
        self._marks: dict[str, float] = {}

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
        chosen = model or config.model or self._model or DEFAULT_MODEL
        wanted = _Wanted(api_key or self._api_key, chosen, url, config, timeout_seconds)
        if self._closing is not None:
            await asyncio.shield(self._closing)
        if self._status == "connected":
            if wanted != self._wanted:
                logger.warning("already connected: the options of this connect() are ignored")
            return
        if self._attempt is None:
            self._wanted = wanted
            self._attempt = asyncio.get_running_loop().create_task(self._run_attempt(wanted), name="connect")
        await self._join(self._attempt)

    async def _join(self, attempt: asyncio.Task[None]) -> None:
        self._attempt_waiters += 1
        try:
            await asyncio.shield(attempt)
        except asyncio.CancelledError:
            if not attempt.done() and self._attempt_waiters == 1:
                attempt.cancel()
                await asyncio.wait([attempt], timeout=CLOSE_TIMEOUT_SECONDS)
            raise
        finally:
            self._attempt_waiters -= 1

    async def _run_attempt(self, wanted: _Wanted) -> None:
        """The attempt belongs to the transport: it ends with the connection or with everything taken down."""
        self._refusal = None
        self._marks = {"began": self._now()}
        self._set_status("connecting")
        reason: str | None = "connect() was cancelled"
        try:
            async with asyncio.timeout(wanted.timeout_seconds):
                await self._establish(wanted)
            return
        except TimeoutError as error:
            refusal = ConnectTimeout(self._stage, f"not done within {wanted.timeout_seconds:g} s")
            reason = str(refusal)
            raise refusal from error
        except asyncio.CancelledError:
            if self._refusal is not None:  # close() ended it
                reason = None
                raise self._refusal from None
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
        try:
            key = await resolve_key(wanted.api_key)
        except SignalingError as error:
            raise from_signaling(error, "key") from error
        self._marks["key"] = self._now()
        self._uplink.held = True
        if self._source is not None:
            await self._source.start()
        self._uplink.set_source(self._source)
        await self._voice.begin(self._sink)
        self._voice.tap = self._on_played
        self._call = call = Call(
            Place(self._client, key, wanted.url, self._base_url),
            self._uplink.read,
            self._voice,
            PeerEvents(message=self._on_message, closed=self._on_lost),
            self._next_message,
            opus=self._opus,
            ice_servers=self._ice_servers,
            on_track_error=self._on_source_error,
            on_skip=self._uplink.skip,
        )
        fields = {**wanted.session.to_update(), "type": "realtime", "model": wanted.model}
        await call.establish(fields, timeout_seconds=wanted.timeout_seconds, on_answer=self._on_answer)
        self._ready = asyncio.get_running_loop().create_future()
        self._perform(self._core.open(wanted.session, self._now(), limit=call.message_limit))
        await self._ready

    def _on_answer(self, answer: SdpAnswer) -> None:
        self._call_id = answer.call_id

    def _session_ready(self) -> None:
        assert self._call is not None
        self._marks.update({str(stage): at for stage, at in self._call.peer.progress.at.items()})
        self._marks["signaling"] = self._call.signaled_at or self._now()
        self._marks["session"] = self._now()
        self._uplink.held = False
        if self._ready is not None and not self._ready.done():
            self._ready.set_result(None)
        self._set_status("connected")

    def _session_failed(self, error: ConnectError) -> None:
        if self._ready is not None and not self._ready.done():
            self._ready.set_exception(error)

    # ---- the end

    async def close(self) -> None:
        if self._attempt is not None:
            self._refusal = ConnectError(
                self._stage, "close() was called before the connection was established"
            )
            self._attempt.cancel()
            if asyncio.current_task() is not self._attempt:
                await asyncio.wait([self._attempt], timeout=CLOSE_TIMEOUT_SECONDS)
        if self._status != "disconnected" or self._closing is not None:
            await asyncio.shield(self._begin_closing(None))

    async def hangup(self) -> None:
        call = self._call
        if call is not None and self._status == "connected":
            try:
                await call.hangup()
            except SignalingError as error:
                self._report(f"the call was not ended at the service: {error}", "transport", error)
        await self.close()

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
            call, self._call = self._call, None
            self._uplink.held = True
            if self._ready is not None and not self._ready.done():
                self._ready.cancel()
            self._end_conversation(reason or "the transport was closed")
            ends = [self._voice.end(), self._release_source()]
            if call is not None:
                ends.append(call.close())
            for outcome in await asyncio.gather(*ends, return_exceptions=True):
                if isinstance(outcome, Exception):
                    self._report(f"while closing: {_text(outcome)}", "transport", outcome)
        finally:
            self._call_id = None
            self._closing = None
            self._set_status("disconnected", reason)
            self._emitter.end_iterators()
            await self._emitter.aclose()

    async def _release_source(self) -> None:
        self._uplink.set_source(None)
        if self._source is not None:
            await self._source.aclose()

    def _on_lost(self, reason: str) -> None:
        """The connection ended by itself: the call is over, and everybody is told why."""
        if self._status == "connected":
            self._report(f"the connection was lost: {reason}", "transport")
            self._begin_closing(reason)
        elif self._ready is not None and not self._ready.done():
            self._ready.set_exception(ConnectError("session", reason))

    def _inbox_overflow(self) -> None:
        self._on_lost("the peer sends more events than can be handled")

    # ---- media

    @property
    def muted(self) -> bool:
        return self._uplink.muted

    def mute(self, muted: bool) -> None:
        self._uplink.muted = muted

    async def set_source(self, source: AudioSource | None) -> None:
        """Exchanges what the model hears, also during a call; None is silence. The old source is released.

        If the new one cannot be started, its error comes out and the old one stays.
        """
        if source is self._source:
            return
        old = self._source
        if self._call is not None:
            if source is not None:
                await source.start()
            self._uplink.set_source(source)
            if old is not None:
                await old.aclose()
        self._source = source

    async def set_sink(self, sink: AudioSink | None) -> None:
        """Exchanges where the voice goes, also during a call; None drains it. The old sink is released.

        If the new one cannot be started, its error comes out and the old one stays.
        """
        if sink is self._sink:
            return
        await self._voice.exchange(sink)
        self._sink = sink

    def stats(self) -> CallStats:
        """What the call is like now, as an immutable snapshot."""
        return collect(self._call, self._voice, self._uplink, self._marks)

    def _on_sent(self, pcm: Pcm) -> None:
        if self._emitter.has_listeners("input_audio"):
            self._tell("input_audio", InputAudio(pcm=pcm, rate_hz=self._uplink.rate_hz))

    def _on_played(self, pcm: Pcm, rate_hz: int) -> None:
        if self._emitter.has_listeners("audio"):
            mark = self._voice_mark
            self._tell(
                "audio",
                Audio(
                    pcm=pcm,
                    rate_hz=rate_hz,
                    item_id=mark.item_id if mark else None,
                    response_id=mark.response_id if mark else None,
                ),
            )

    def _on_source_error(self, error: Exception) -> None:
        self._report(f"the source failed and is silent: {_text(error)}", "source", error)

    def _on_source_ended(self, source: AudioSource) -> None:
        self._tell("source_ended", SourceEnded())

    # ---- what the shell asks

    async def drain(self) -> None:
        call, serial = self._call, self._core.last_serial
        if call is None:
            raise NotConnectedError(f"the transport is {self._status}: connect() first")
        await call.drained(lambda: self._core.holds(serial))

    def _pump(self) -> None:
        if self._call is not None:
            self._call.pump()

    def _playback(self) -> Playback:
        return self._voice.playback()

    def _stop_playout(self, drop_until: float | None) -> None:
        self._voice.stop(drop_until)

    def _resume_playout(self) -> None:
        self._voice.resume()

    def _mark_voice(self, mark: MarkVoice) -> None:
        self._voice_mark = mark
        self._voice.mark()

    def _source_active(self) -> bool:
        return self._source is not None and not self._uplink.muted


def _text(error: Exception) -> str:
    return str(error) or type(error).__name__
