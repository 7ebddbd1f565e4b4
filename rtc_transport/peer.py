"""One peer connection with one audio track and one control channel, from offer or answer to its end.

Both ends of the library use it. Handlers on aiortc's objects only note what happened; they call `PeerEvents`, whose
functions must not raise. The order of things is aiortc's law: audio before the channel, or MAX_BUNDLE never connects.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from aiortc import (
    RTCBundlePolicy,
    RTCConfiguration,
    RTCDataChannel,
    RTCIceServer,
    RTCPeerConnection,
    RTCRtpSender,
    RTCSessionDescription,
)

from .errors import ConnectError, Stage
from .internals import gather_loopback, guard_text, quicken_sctp, quiet_connect, take_sending
from .receiver import VoiceInput, attach_receiver
from .sdp import Description, OpusFormat, describe, opus_payload_types, with_opus_format
from .tracks import OutgoingTrack

logger = logging.getLogger("rtc_transport.peer")

CHANNEL_LABEL = "oai-events"
CLOSE_TIMEOUT_SECONDS = 1.5


def _ignore(*_: object) -> None:
    pass


@dataclass
class PeerEvents:
    """What a peer tells its owner. None of these may raise."""

    message: Callable[[str | bytes], None] = _ignore
    """A message on the control channel; bytes for binary ones and for text that is not UTF-8."""
    opened: Callable[[], None] = _ignore
    """The control channel is open."""
    closed: Callable[[str], None] = _ignore
    """The connection or the channel ended, not by `close()`; the reason. At most once."""


@dataclass
class Progress:
    """When each stage was done, in seconds of the loop's clock."""

    at: dict[Stage, float] = field(default_factory=dict)

    @property
    def stage(self) -> Stage:
        """The stage under way."""
        return next((s for s in ("ice", "dtls", "channel") if s not in self.at), "session")


class Peer:
    """Offers (`offer`, `accept`) or answers (`answer`); `close()` ends it from any state.

    `loopback` adds 127.0.0.1 to the candidates. `ice_servers` are STUN and TURN servers; none by default.
    """

    def __init__(
        self,
        track: OutgoingTrack,
        voice: VoiceInput,
        events: PeerEvents,
        *,
        opus: OpusFormat | None = None,
        ice_servers: Sequence[RTCIceServer] = (),
        loopback: bool = False,
    ) -> None:
        self._events = events
        self._opus = opus or OpusFormat()
        self._loopback = loopback
        self.progress = Progress()
        self.remote: Description | None = None
        self.channel: RTCDataChannel | None = None
        self._ended = False
        self._open: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._closing: asyncio.Task[None] | None = None
        self.connection = RTCPeerConnection(
            RTCConfiguration(iceServers=list(ice_servers), bundlePolicy=RTCBundlePolicy.MAX_BUNDLE)
        )
        quiet_connect(self.connection)
        self._transceiver = self.connection.addTransceiver(track, direction="sendrecv")
        capabilities = RTCRtpSender.getCapabilities("audio").codecs
        self._transceiver.setCodecPreferences([c for c in capabilities if c.mimeType.lower() == "audio/opus"])
        take_sending(self._transceiver.sender, track.drive)
        self.receiver = attach_receiver(self._transceiver, voice)
        gather_loopback(self._transceiver.sender.transport.transport, always=loopback)
        self.connection.on("connectionstatechange", self._on_connection_state)
        self.connection.on("iceconnectionstatechange", self._on_ice_state)

    # ---- negotiation

    async def offer(self) -> str:
        """Creates the channel, gathers candidates and returns the offer to send."""
        channel = self.connection.createDataChannel(CHANNEL_LABEL)
        self._prepare_sctp()
        self._take_channel(channel)
        await self.connection.setLocalDescription(await self.connection.createOffer())
        sdp = self.connection.localDescription.sdp
        if "a=candidate:" not in sdp:
            raise ConnectError("ice", "this machine has no network address to connect from")
        self.receiver.expect(opus_payload_types(sdp))
        return with_opus_format(sdp, self._opus)

    async def accept(self, answer_sdp: str) -> None:
        """Applies the answer; raises ConnectError for one that cannot lead to a call."""
        self.remote = answer = describe(answer_sdp)
        if not answer.has_audio:
            raise ConnectError("signaling", "the answer has no audio")
        if answer.opus is None:
            raise ConnectError("signaling", "the answer has no Opus")
        if not answer.has_channel:
            raise ConnectError("signaling", "the answer has no data channel")
        if not answer.has_credentials:
            raise ConnectError("signaling", "the answer has no ICE credentials or no DTLS fingerprint")
        if answer.tcp_candidates and not answer.udp_candidates:
            raise ConnectError(
                "ice",
                "the answer has only TCP candidates, which only browsers use",
                hint="where UDP is blocked, give a TURN server over TCP or TLS in ice_servers",
            )
        try:
            await self.connection.setRemoteDescription(RTCSessionDescription(answer_sdp, "answer"))
            await self.connection.addIceCandidate(None)
        except Exception as error:  # aiortc raises ValueError, AssertionError, OperationError, KeyError, ...
            raise ConnectError("signaling", f"the answer cannot be used: {_text(error)}") from error

    async def answer(self, offer_sdp: str) -> str:
        """Applies an offer, gathers candidates and returns the answer to send.

        Raises ConnectError for an offer without Opus audio or a data channel, or one that cannot be used.
        """
        self.remote = offer = describe(offer_sdp)
        if not offer.has_audio or offer.opus is None:
            raise ConnectError("signaling", "the offer has no Opus audio")
        if not offer.has_channel:
            raise ConnectError("signaling", "the offer has no data channel")
        if not offer.has_credentials:
            raise ConnectError("signaling", "the offer has no ICE credentials or no DTLS fingerprint")
        self.connection.on("datachannel", self._on_datachannel)
        try:
            await self.connection.setRemoteDescription(RTCSessionDescription(offer_sdp, "offer"))
            self._prepare_sctp()
            await self.connection.setLocalDescription(await self.connection.createAnswer())
        except Exception as error:  # aiortc raises ValueError, AssertionError, OperationError, KeyError, ...
            raise ConnectError("signaling", f"the offer cannot be used: {_text(error)}") from error
        return with_opus_format(self.connection.localDescription.sdp, self._opus)

    async def opened(self) -> None:
        """Waits until the channel is open; raises ConnectError if the connection ends first."""
        await asyncio.shield(self._open)

    # ---- the end

    async def close(self) -> None:
        """Ends everything within two seconds; idempotent, and safe under cancellation (RTCPeerConnection's is not)."""
        if self._closing is None:
            self._closing = asyncio.get_running_loop().create_task(self._close(), name="close peer")
        await asyncio.shield(self._closing)

    async def _close(self) -> None:
        self._ended = True
        if not self._open.done():
            self._open.set_exception(ConnectError(self.progress.stage, "the connection was closed"))
        self._open.exception()  # retrieved: nobody may have waited
        await self.receiver.aclose()
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT_SECONDS):
                await self.connection.close()
        except TimeoutError:
            logger.warning("the peer connection did not close in %s s", CLOSE_TIMEOUT_SECONDS)
        self.connection.remove_all_listeners()

    # ---- what aiortc reports

    def _prepare_sctp(self) -> None:
        sctp = self.connection.sctp
        if sctp is not None:
            quicken_sctp(sctp)
            guard_text(sctp, self._events.message)

    def _on_datachannel(self, channel: RTCDataChannel) -> None:
        if channel.label == CHANNEL_LABEL and self.channel is None:
            self._take_channel(channel)
            self._on_open()
        else:
            logger.info("another data channel %r was opened and is ignored", channel.label)

    def _take_channel(self, channel: RTCDataChannel) -> None:
        self.channel = channel
        channel.on("open", self._on_open)
        channel.on("message", self._events.message)
        channel.on("close", self._on_channel_close)

    def _on_open(self) -> None:
        self._reached("ice", "dtls", "channel")
        if not self._open.done():
            self._open.set_result(None)
            self._events.opened()

    def _on_channel_close(self) -> None:
        self._end("the peer closed the control channel")

    def _on_ice_state(self) -> None:
        if self.connection.iceConnectionState in ("connected", "completed"):
            self._reached("ice")

    def _on_connection_state(self) -> None:
        state = self.connection.connectionState
        if state == "connected":
            self._reached("ice", "dtls")
        elif state == "failed":
            reasons = {"ice": "no path to the peer was found", "dtls": "the DTLS handshake failed"}
            self._end(reasons.get(self.progress.stage, "the network path broke"))
        elif state == "closed":
            self._end("the peer ended the connection")

    def _reached(self, *stages: Stage) -> None:
        now = asyncio.get_running_loop().time()
        for stage in stages:
            self.progress.at.setdefault(stage, now)

    def _end(self, reason: str) -> None:
        if self._ended:
            return
        self._ended = True
        if self._open.done():
            self._events.closed(reason)
        else:
            self._open.set_exception(ConnectError(self.progress.stage, reason))


def _text(error: Exception) -> str:
    return str(error) or type(error).__name__
