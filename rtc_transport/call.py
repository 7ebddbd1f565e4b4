"""One call: peer connection, control channel and signaling, from the offer to the end.

The stages of a connect lie here, each where it happens; deadline, status and the session stage are the transport's.
"""

import asyncio
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from aiortc import RTCIceServer
from aiortc.stats import RTCRemoteInboundRtpStreamStats

from rtc_signaling import SdpAnswer, SignalingError, SignalingTimeout
from rtc_signaling.client import SdpClient
from rtc_signaling.urls import is_loopback

from .channel import ControlChannel
from .errors import ConnectError, ConnectTimeout, NotConnectedError, Stage
from .peer import Peer, PeerEvents
from .receiver import VoiceInput
from .tracks import OpusSettings, OutgoingTrack, PacketFeed, ReadFrame

logger = logging.getLogger("rtc_transport.call")

HANGUP_TIMEOUT_SECONDS = 2.0
REPORTS_SECONDS = 1.0


@dataclass(frozen=True)
class Place:
    """Where a call is made: the client, the key it was made with, and the URL if one was given."""

    client: SdpClient
    key: str | None = field(repr=False)
    url: str | None
    base_url: str

    @property
    def is_loopback(self) -> bool:
        """Whether the service is on this machine, as far as its URL tells."""
        return is_loopback(urlsplit(self.url or self.base_url).hostname or "")


class Call:
    """Establish it once, close it once (`close` is idempotent).

    `next_message` gives the texts for the control channel; `pump` says that there may be one.
    """

    def __init__(
        self,
        place: Place,
        read: ReadFrame,
        voice: VoiceInput,
        events: PeerEvents,
        next_message: Callable[[], str | None],
        *,
        opus: OpusSettings,
        packets: PacketFeed | None = None,
        ice_servers: Sequence[RTCIceServer] = (),
        on_track_error: Callable[[Exception], None],
        on_skip: Callable[[int], None],
    ) -> None:
        self._place = place
        self._next_message = next_message
        self._control: ControlChannel | None = None
        self.answer: SdpAnswer | None = None
        self.signaled_at: float | None = None
        self.rtt_seconds: float | None = None
        self.peer_loss: float | None = None
        self._watch: asyncio.Task[None] | None = None
        self.track = OutgoingTrack(read, opus, packets=packets, on_error=on_track_error, on_skip=on_skip)
        self.peer = Peer(
            self.track,
            voice,
            events,
            opus=opus.format(),
            ice_servers=ice_servers,
            loopback=place.is_loopback,
        )

    @property
    def stage(self) -> Stage:
        """The stage of the connect that is under way."""
        return "signaling" if self.signaled_at is None else self.peer.progress.stage

    async def establish(
        self,
        session: Mapping[str, object],
        *,
        timeout_seconds: float,
        on_answer: Callable[[SdpAnswer], None],
    ) -> None:
        """Returns when the control channel is open. Raises ConnectError; cancellation leaves `close()` to do."""
        offer = await self.peer.offer()
        try:
            self.answer = await self._place.client.exchange(
                offer,
                key=self._place.key,
                session=session,
                url=self._place.url,
                timeout_seconds=timeout_seconds,
            )
        except SignalingError as error:
            raise from_signaling(error) from error
        on_answer(self.answer)
        await self.peer.accept(self.answer.sdp)
        self.signaled_at = asyncio.get_running_loop().time()
        remote = self.peer.remote
        if remote is not None and remote.opus is not None:
            self.track.configure(self.track.settings.bounded_by(remote.opus), remote.opus)
        await self.peer.opened()
        assert self.peer.channel is not None  # it is what opened
        self._control = ControlChannel(self.peer.channel, self._next_message)
        self._watch = asyncio.get_running_loop().create_task(self._watch_reports(), name="receiver reports")

    async def _watch_reports(self) -> None:
        """Follows the peer's receiver reports: round trip, and the loss that the encoder prepares for."""
        sender = self.peer.connection.getSenders()[0]
        while True:
            await asyncio.sleep(REPORTS_SECONDS)
            for report in (await sender.getStats()).values():
                if isinstance(report, RTCRemoteInboundRtpStreamStats):
                    self.rtt_seconds = report.roundTripTime
                    self.peer_loss = report.fractionLost / 256
                    self.track.expect_loss(math.ceil(100 * self.peer_loss))

    @property
    def message_limit(self) -> int | None:
        """Most bytes the peer takes in one message; None: no limit."""
        return self.peer.remote.max_message_size if self.peer.remote is not None else None

    def pump(self) -> None:
        """Sends what waits, as far as the channel takes it."""
        if self._control is not None:
            self._control.pump()

    async def drained(self, pending: Callable[[], bool]) -> None:
        """As `ControlChannel.drained`."""
        if self._control is None:
            raise NotConnectedError("the control channel is not open")
        await self._control.drained(pending)

    async def hangup(self) -> None:
        """Ends the call at the service; raises SignalingError, and nothing is done without a call id."""
        if self.answer is not None and self.answer.call_id is not None:
            await self._place.client.hangup(
                self.answer.call_id,
                key=self._place.key,
                url=self._place.url,
                timeout_seconds=HANGUP_TIMEOUT_SECONDS,
            )

    async def close(self) -> None:
        """Ends the peer connection; idempotent, bounded, safe under cancellation."""
        if self._control is not None:
            self._control.close()
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.gather(self._watch, return_exceptions=True)
        await self.peer.close()


def from_signaling(error: SignalingError, stage: Stage = "signaling") -> ConnectError:
    """The connect error that a signaling error means."""
    kind = ConnectTimeout if isinstance(error, SignalingTimeout) else ConnectError
    return kind(
        stage,
        str(error),
        status=getattr(error, "status", None),
        code=getattr(error, "code", None),
        request_id=None,  # the text has it
        hint=error.hint,
    )
