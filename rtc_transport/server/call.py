"""One call at the embedded server: the answering peer, the session behind it, and the task that owns both."""

import asyncio
import json
import logging
import re
import secrets
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np

from rtc_transport.channel import ControlChannel
from rtc_transport.errors import NotConnectedError
from rtc_transport.internals import wrap_sending
from rtc_transport.peer import Peer, PeerEvents
from rtc_transport.sdp import describe
from rtc_transport.tracks import OpusSettings, OutgoingTrack

from .eventlog import EventLog, LoggedEvent, Sender
from .faults import Faults
from .hearing import Hearing
from .items import Json
from .session import Session
from .vad import RATE_HZ
from .voice import Mono

logger = logging.getLogger("rtc_transport.server")

TICK_SECONDS = 0.02
CONNECT_SECONDS = 30.0
"""An answered call whose channel is not open by then is given up."""
DRAIN_SECONDS = 0.5
MAX_QUEUED = 10_000
MAX_MESSAGE_SIZE = 262_144
"""What our answers allow a message to be; browsers have the same limit."""


class Call:
    """Made for an offer, runs until either side ends it. `events` and `heard()` are for tests and for looking on.

    `make_session` makes the session once the limits of both sides are known: called with the largest event that we
    take, and that the client takes (None: no limit), in bytes.
    """

    def __init__(
        self,
        call_id: str,
        make_session: Callable[[int, int | None], Session],
        *,
        faults: Faults,
        pause: bool,
        loopback: bool,
        opus: OpusSettings,
        on_event: Callable[[LoggedEvent], None],
    ) -> None:
        self.id = call_id
        self.ended: str | None = None
        """Why the call is over."""
        self._make_session = make_session
        self._session: Session | None = None
        self._faults = faults
        self._pause = pause
        self._event_log = EventLog(on_event)
        self._loop = asyncio.get_running_loop()
        self._started_at = self._loop.time()
        self._opened_at: float | None = None
        self._last_words_at: float | None = None
        self._outbox: deque[str] = deque()
        self._channel: ControlChannel | None = None
        self._channel_closed = False
        self._opus = replace(opus, rate_hz=RATE_HZ)
        self._hearing = Hearing(self._hear)
        self._track = OutgoingTrack(self._speak, self._opus)
        events = PeerEvents(message=self._on_message, opened=self._on_open, closed=self._on_peer_closed)
        self._peer = Peer(self._track, self._hearing, events, opus=self._opus.format(), loopback=loopback)
        if faults.on_the_wire:
            transport = self._peer.connection.getSenders()[0].transport.transport
            wrap_sending(transport, faults.wire(self._clock))

    # ---- for tests and onlookers

    @property
    def events(self) -> Sequence[LoggedEvent]:
        """What both sides have sent, 5000 events and 32 MiB at most: the oldest are dropped."""
        return tuple(self._event_log.events)

    def heard(self) -> Mono:
        """What the user said, mono 24 kHz, the last minute of it."""
        return self._hearing.kept()

    def inject(self, event: Mapping[str, Any]) -> None:
        """Sends a server event that the session does not know of; an ``event_id`` is added if it has none."""
        if self.ended is not None or self._channel is None:
            raise NotConnectedError(f"call {self.id} has no open channel")
        self._send({"event_id": f"event_{secrets.token_hex(10)}", **event})
        self._channel.pump()

    async def wait_for(self, kind: str, sender: Sender | None = None, *, count: int = 1) -> Mapping[str, Any]:
        """The `count`-th event of that type in the log, past or future; NotConnectedError if the call ends first.

        May be cancelled freely; put a timeout around it.
        """
        while (event := self._event_log.find(kind, sender, count)) is None:
            if self.ended is not None:
                raise NotConnectedError(f"the call ended ({self.ended}) without {kind}")
            await self._event_log.changed()
        return event

    # ---- its life, for the server

    async def answer(self, offer_sdp: str) -> str:
        """The SDP answer. Raises ConnectError for an offer that cannot be used; `run` or `close` must follow."""
        answer = await self._peer.answer(offer_sdp)
        assert self._peer.remote is not None, "an answered offer has been read"
        if self._peer.remote.opus is not None:
            self._track.configure(self._opus.bounded_by(self._peer.remote.opus))
        answer = re.sub(r"(?m)^a=max-message-size:\d+", f"a=max-message-size:{MAX_MESSAGE_SIZE}", answer)
        limit = describe(answer).max_message_size or MAX_MESSAGE_SIZE
        self._session = self._make_session(limit, self._peer.remote.max_message_size)
        self._log("call", {"type": "call.started"})
        return _faulty_answer(answer, self._faults)

    async def run(self) -> None:
        """Keeps the call going until it ends; closes everything, also when cancelled."""
        try:
            while self.ended is None:
                if self._opened_at is None:
                    self._check_connecting()
                else:
                    self._step(self._loop.time() - self._opened_at)
                await asyncio.sleep(TICK_SECONDS)
        finally:
            await self.close()

    def end(self, reason: str) -> None:
        """Lets `run` come to its end."""
        if self.ended is None:
            self.ended = reason
            self._log("call", {"type": "call.ended", "reason": reason})

    async def close(self) -> None:
        """Closes the connection, within two seconds; idempotent, safe under cancellation."""
        self.end("the server closed the call")
        if self._channel is not None:
            self._channel.close()
        self._session = None  # with its conversation: ended calls are kept for a while
        await self._peer.close()

    def _on_peer_closed(self, reason: str) -> None:
        if not self._channel_closed:  # the end of the channel that we made as a fault leaves the call up
            self.end(reason)

    def _clock(self) -> float | None:
        return None if self._opened_at is None else self._loop.time() - self._opened_at

    # ---- one step of 20 ms

    def _check_connecting(self) -> None:
        if self._peer.connection.connectionState in ("closed", "failed"):
            self.end(f"the client did not connect: failed at stage {self._peer.progress.stage}")
        elif self._loop.time() - self._started_at > CONNECT_SECONDS:
            self.end(f"the client did not connect within {CONNECT_SECONDS:g} s")

    def _step(self, seconds: float) -> None:
        """`seconds` since the channel opened."""
        assert self._session is not None, "there is a session since the answer"
        now = self._loop.time()
        self._hearing.tick(now)
        self._session.tick(now)
        self._flush()
        if self._peer.connection.connectionState in ("closed", "failed"):
            self.end("the connection is gone")
        if self._session.ended is not None and self._drained(now):
            self.end(self._session.ended)
        if self._faults.hang_up_after_seconds is not None and seconds >= self._faults.hang_up_after_seconds:
            self.end("hung up on purpose")
        at = self._faults.close_channel_after_seconds
        if at is not None and seconds >= at and not self._channel_closed and self._peer.channel is not None:
            self._channel_closed = True
            self._peer.channel.close()

    def _drained(self, now: float) -> bool:
        """Whether the last words have had their time to leave."""
        if self._last_words_at is None:
            self._last_words_at = now
        return now - self._last_words_at >= DRAIN_SECONDS

    @contextmanager
    def _guard(self) -> Iterator[None]:
        """aiortc calls us here, and would not survive an exception: a fault of ours ends this call only."""
        try:
            yield
        except Exception:  # any fault of ours, see above
            logger.exception("call %s failed", self.id)
            self.end("the server failed")

    # ---- the channel

    def _on_open(self) -> None:
        with self._guard():
            assert self._session is not None, "there is a session since the answer"
            assert self._peer.channel is not None, "it has just opened"
            self._opened_at = self._loop.time()
            self._hearing.open = True
            self._channel = ControlChannel(self._peer.channel, self._next_message)
            self._log("call", {"type": "call.opened"})
            self._session.open()
            self._flush()
            for message in self._faults.garbage:
                self._peer.channel.send(message)

    def _on_message(self, message: str | bytes) -> None:
        if self._session is None or self.ended is not None:
            return
        self._log("client", _shown(message), len(message))
        with self._guard():
            self._session.receive(message, self._loop.time())
            self._flush()

    def _flush(self) -> None:
        assert self._session is not None, "there is a session since the answer"
        for event in self._session.take_events():
            self._send(event)
        if self._channel is not None:
            self._channel.pump()

    def _send(self, event: Json) -> None:
        text = _to_json(event)
        limit = self._peer.remote.max_message_size if self._peer.remote is not None else None
        size = len(text.encode())
        if limit is not None and size > limit:
            logger.warning(
                "call %s: a %s of %d bytes is not sent, the peer takes %d",
                self.id,
                event["type"],
                size,
                limit,
            )
            message = f"A {event['type']} event of {size} bytes is larger than the peer takes ({limit})."
            error = {"type": "server_error", "code": "event_too_large", "message": message}
            event = {"type": "error", "event_id": event["event_id"], "error": error}
            text = json.dumps(event)
        if len(self._outbox) >= MAX_QUEUED:
            self.end("the client does not take its events")
            return
        self._log("server", event, size)
        self._outbox.append(text)

    def _next_message(self) -> str | None:
        return self._outbox.popleft() if self._outbox else None

    # ---- sound

    def _hear(self, pcm: Mono, now: float) -> None:
        if self._session is not None and self.ended is None:
            with self._guard():
                self._session.hear(pcm, now)
                self._flush()

    def _speak(self, count: int) -> Mono | None:
        if self._session is None:
            return np.zeros(count, np.float32)
        pcm, silent = self._session.speak(count), not self._session.speaking
        if self._opened_at is not None and self._session.voice_turned:
            with self._guard():  # at once: the client counts what it hears from this event on
                self._session.tick(self._loop.time())
                self._flush()
        return None if self._pause and silent and not pcm.any() else pcm

    def _log(self, sender: Sender, event: Mapping[str, Any], size: int = 0) -> None:
        at_seconds = self._loop.time() - self._started_at
        self._event_log.add(LoggedEvent(self.id, at_seconds, sender, event), size)


def _to_json(event: Mapping[str, Any]) -> str:
    text = json.dumps(event, ensure_ascii=False, separators=(",", ":"))
    try:
        text.encode()
    except UnicodeEncodeError:  # half of a surrogate pair, which a client sent escaped and gets back escaped
        return json.dumps(event)
    return text


def _shown(message: str | bytes) -> Mapping[str, Any]:
    """A client's message for the log, whatever it is."""
    try:
        event = json.loads(message)
    except (ValueError, RecursionError):
        event = None
    if isinstance(event, dict):
        return event
    text = message if isinstance(message, str) else message.decode("utf-8", "replace")
    return {"type": "(malformed)", "message": text[:1000]}


def _faulty_answer(answer: str, faults: Faults) -> str:
    if faults.no_channel:
        answer = re.sub(r"(?m)^m=application \d+", "m=application 0", answer)
    if faults.tcp_only:
        answer = re.sub(r"(?mi)^(a=candidate:\S+ \d+) udp (.*?)\r?$", r"\1 tcp \2 tcptype passive\r", answer)
    return answer
