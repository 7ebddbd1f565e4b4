"""The one module that uses private names of aiortc and aioice.

Written against aiortc 1.16.0 and aioice 0.13.0. Everything here sets attributes of single objects, never of classes.
Each function looks first whether the names it needs are there; where they are not, it says so by returning False (or
a monitor that judges by public figures), logs one warning, and stock behaviour remains. `tests/transport/
test_internals.py` pins the names and says which of them a new release took away.
"""

import asyncio
import logging
import random
import struct
import time
from collections.abc import Awaitable, Callable, Collection
from dataclasses import replace
from typing import Any, Protocol

from aiortc import RTCDataChannel, RTCIceTransport, RTCPeerConnection, RTCRtpSender, RTCRtpTransceiver
from aiortc.rtcrtpparameters import RTCRtpCodecParameters
from aiortc.rtcsctptransport import RTCSctpTransport
from aiortc.rtp import RtpPacket

logger = logging.getLogger("rtc_transport.internals")

WRITTEN_FOR = "aiortc 1.16.0, aioice 0.13.0"
LOOPBACK = "127.0.0.1"

SCTP_INITIAL_RTO_SECONDS = 0.5
SCTP_MINIMUM_RTO_SECONDS = 0.2
WEBRTC_STRING_PPID = 51  # RFC 8831 §8
RTP_HEADER = struct.Struct("!BBHII")  # RFC 3550 §5.1
NTP_UNIX_SECONDS = 2_208_988_800  # from 1900 to 1970

_SENDER = "_RTCRtpSender__"
_NTP_TIMESTAMP, _RTP_TIMESTAMP = _SENDER + "ntp_timestamp", _SENDER + "rtp_timestamp"
_PACKET_COUNT, _OCTET_COUNT = _SENDER + "packet_count", _SENDER + "octet_count"
_SENDER_NAMES = (
    *(_SENDER + name for name in ("mid", "rtp_started", "rtp_exited", "rtp_header_extensions_map")),
    *(_NTP_TIMESTAMP, _RTP_TIMESTAMP, _PACKET_COUNT, _OCTET_COUNT),
)

Drive = Callable[[Callable[[bytes, int], None]], Awaitable[None]]

_warned: set[str] = set()


def _has(owner: Any, what: str, *names: str) -> bool:
    missing = [name for name in names if not hasattr(owner, name)]
    if missing and what not in _warned:
        _warned.add(what)
        logger.warning(
            "%s is off: this aiortc has no %s.%s (written for %s)",
            what,
            type(owner).__name__,
            ", ".join(missing),
            WRITTEN_FOR,
        )
    return not missing


def gather_loopback(ice: RTCIceTransport, *, always: bool) -> bool:
    """Makes `ice` gather 127.0.0.1 as well: always, or only where there is no other address.

    aioice leaves loopback addresses out, so a machine whose only interface is ``lo`` has no candidates.
    """
    gatherer = ice.iceGatherer
    if not _has(gatherer, "loopback gathering", "_connection"):
        return False
    connection: Any = gatherer._connection
    if not _has(connection, "loopback gathering", "get_component_candidates"):
        return False
    stock = connection.get_component_candidates

    async def get_component_candidates(
        component: int, addresses: list[str], *args: Any, **kwargs: Any
    ) -> Any:
        if always or not addresses:
            addresses = [*addresses, LOOPBACK]
        return await stock(component, addresses, *args, **kwargs)

    connection.get_component_candidates = get_component_candidates
    return True


def quiet_connect(connection: RTCPeerConnection) -> bool:
    """Lets aiortc's connecting end without a word when the connection is closed meanwhile.

    It runs in a task that nobody awaits: what a closed transport raises in it would be told as never retrieved.
    """
    name = "_RTCPeerConnection__connect"
    if not _has(connection, "silent connecting", name):
        return False
    stock = getattr(connection, name)

    async def connect() -> None:
        try:
            await stock()
        except Exception as error:  # whatever a transport raises that is being closed
            if connection.signalingState != "closed":
                raise
            logger.debug("closed while connecting: %s", error)

    setattr(connection, name, connect)
    return True


def quicken_sctp(sctp: RTCSctpTransport) -> bool:
    """Starts retransmission timers at 0.5 s and lets them fall to 0.2 s (aiortc: 3 s and 1 s; RFC 9260 §16).

    Realtime control messages are few and small, so the last one of a burst has nothing behind it that would make the
    peer report its loss: only the timer repairs it.
    """
    private: Any = sctp
    if not _has(private, "quick SCTP retransmission", "_rto", "_update_rto", "_srtt", "_rttvar"):
        return False
    stock = private._update_rto

    def update_rto(round_trip_seconds: float) -> None:
        stock(round_trip_seconds)
        private._rto = max(SCTP_MINIMUM_RTO_SECONDS, private._srtt + 4 * private._rttvar)

    private._rto = SCTP_INITIAL_RTO_SECONDS
    private._update_rto = update_rto
    return True


def guard_text(sctp: RTCSctpTransport, on_bad_text: Callable[[bytes], None]) -> bool:
    """Hands text messages that are not UTF-8 to `on_bad_text`; aiortc would end the whole DTLS transport on one."""
    private: Any = sctp
    if not _has(private, "the guard against text that is not UTF-8", "_data_channel_receive"):
        return False
    stock = private._data_channel_receive

    async def receive(stream_id: int, pp_id: int, data: bytes) -> None:
        if pp_id == WEBRTC_STRING_PPID:
            try:
                data.decode("utf-8")
            except UnicodeDecodeError:
                on_bad_text(data)
                return
        await stock(stream_id, pp_id, data)

    private._data_channel_receive = receive
    return True


class SctpMonitor:
    """What a data channel still holds back, and what the peer has acknowledged.

    `bufferedAmount` falls when a message moves into SCTP's own queue, long before it is on the wire; this looks
    behind that queue. `on_progress` is called after every step that may have sent or acknowledged something; it must
    not raise.
    """

    def __init__(self, channel: RTCDataChannel, on_progress: Callable[[], None]) -> None:
        self._channel = channel
        self._sctp: Any = channel.transport
        self._on_progress = on_progress
        self._exact = _has(
            self._sctp,
            "exact backpressure",
            "_transmit",
            "_outbound_queue",
            "_data_channel_queue",
            "_sent_queue",
            "_local_tsn",
            "_last_sacked_tsn",
        )
        if self._exact:
            self._stock_transmit = self._sctp._transmit
            vars(self._sctp)["_transmit"] = self._transmit  # on the object; the class keeps its own
        else:
            channel.on("bufferedamountlow", on_progress)

    async def _transmit(self) -> None:
        await self._stock_transmit()
        self._on_progress()

    @property
    def idle(self) -> bool:
        """Whether everything given to the channel has been sent at least once."""
        if self._exact:
            return not self._sctp._outbound_queue and not self._sctp._data_channel_queue
        return bool(self._channel.bufferedAmount == 0)

    def mark(self) -> int:
        """The place in the stream behind all that has been sent; only meaningful while `idle`."""
        return int(self._sctp._local_tsn) if self._exact else 0

    def acknowledged(self, mark: int) -> bool:
        """Whether the peer has acknowledged all in front of `mark`."""
        if not self._exact:
            return self.idle
        behind = (int(self._sctp._last_sacked_tsn) + 1 - mark) & 0xFFFFFFFF  # serial numbers, RFC 1982
        return behind < 1 << 31

    def close(self) -> None:
        """Lets go of the channel and of the callback."""
        if self._exact:
            vars(self._sctp).pop("_transmit", None)
        self._on_progress = _nothing


def _nothing() -> None:
    pass


class RtpHandler(Protocol):
    """What aiortc's DTLS transport needs of a receiver (its ``RtpReceiver`` protocol), and the short way around it."""

    def _handle_disconnect(self) -> None: ...
    async def _handle_rtcp_packet(self, packet: Any) -> None: ...
    async def _handle_rtp_packet(self, packet: Any, arrival_time_ms: int) -> None: ...

    def rtp(self, sequence: int, timestamp: int, payload: bytes) -> None:
        """A packet of the stream that was given to `RtpPort.shorten`. Must not raise."""


class RtpPort:
    """Takes the place of a transceiver's stock receiver: registers `handler` for its RTP and sends its reports.

    Make it with `take_rtp` before the remote description is applied. `close()` before the connection is closed.
    """

    def __init__(
        self, transceiver: RTCRtpTransceiver, handler: RtpHandler, on_started: Callable[[], None]
    ) -> None:
        self._transceiver: Any = transceiver
        self._handler = handler
        self._on_started = on_started
        self._registered_with: Any = None
        self._shortened: Any = None
        self.sender_ssrc: int = transceiver.sender._ssrc
        self.payload_types: Collection[int] = ()
        """Those that we stated in our offer: a peer sends with them whatever its answer has (RFC 3264 §6.1)."""
        vars(self._transceiver.receiver)["receive"] = self._receive

    async def _receive(self, parameters: Any) -> None:
        """RTCPeerConnection awaits this, once DTLS is up, in place of RTCRtpReceiver.receive."""
        if self._registered_with is not None:
            return
        self._registered_with = self._transceiver.receiver.transport
        known = {codec.payloadType for codec in parameters.codecs}
        stated = [replace(parameters.codecs[0], payloadType=n) for n in self.payload_types if n not in known]
        parameters = replace(parameters, codecs=parameters.codecs + stated)
        self._registered_with._register_rtp_receiver(self._handler, parameters)
        self._on_started()

    def shorten(self, ssrc: int, payload_type: int) -> bool:
        """Hands packets of one stream to `handler.rtp` as their datagrams arrive, past a queue and a task of aiortc.

        Meant for a stream that aiortc has routed to the handler already. What is not plain RTP of that stream still
        goes the long way. A third of the time that receiving takes.
        """
        try:
            from pylibsrtp import Error  # aiortc's dependency, not ours
        except ImportError:
            return False
        dtls = self._registered_with
        what = "the short way of RTP"
        if (
            dtls is None
            or not _has(dtls, what, "_rx_srtp", "transport")
            or not _has(dtls.transport, what, "_connection")
        ):
            return False
        connection = dtls.transport._connection
        if not _has(connection, what, "data_received") or not _has(dtls._rx_srtp, what, "unprotect"):
            return False
        vars(connection).pop("data_received", None)
        stock, unprotect, deliver = connection.data_received, dtls._rx_srtp.unprotect, self._handler.rtp
        source, first_bytes = ssrc.to_bytes(4), (0x80, 0x90)  # version 2; neither padding nor CSRCs

        def data_received(data: bytes, component: int) -> None:
            if (
                len(data) < 12
                or data[0] not in first_bytes
                or data[8:12] != source
                or data[1] & 127 != payload_type
            ):
                stock(data, component)
                return
            try:
                packet = unprotect(data)
            except Error as error:
                logger.debug("an RTP packet could not be decrypted: %s", error)
                return
            _, _, sequence, timestamp, _ = RTP_HEADER.unpack_from(packet)
            begin = 12
            if packet[0] & 0x10 and len(packet) >= 16:
                begin = 16 + 4 * (packet[14] << 8 | packet[15])
            deliver(sequence, timestamp, packet[begin:])

        vars(connection)["data_received"] = data_received
        self._shortened = connection
        return True

    async def send_rtcp(self, packet: bytes) -> None:
        """Sends one RTCP packet; nothing is sent, and nothing raised, when the connection is not there."""
        if self._registered_with is not None:
            try:
                await self._registered_with._send_rtp(packet)
            except ConnectionError:
                logger.debug("an RTCP report could not be sent: the connection is gone")

    def close(self) -> None:
        """Stops delivering; idempotent."""
        if self._shortened is not None:
            vars(self._shortened).pop("data_received", None)
            self._shortened = None
        if self._registered_with is not None:
            self._registered_with._unregister_rtp_receiver(self._handler)
            self._registered_with = None


def take_rtp(
    transceiver: RTCRtpTransceiver, handler: RtpHandler, on_started: Callable[[], None]
) -> RtpPort | None:
    """A port that delivers the transceiver's RTP to `handler`, or None where this aiortc does not allow it."""
    what = "the own audio receiver"
    transport = transceiver.receiver.transport
    if not (
        _has(transport, what, "_register_rtp_receiver", "_unregister_rtp_receiver", "_send_rtp")
        and _has(transceiver.receiver, what, "receive")
        and _has(transceiver.sender, what, "_ssrc")
    ):
        return None
    return RtpPort(transceiver, handler, on_started)


class RtpOutput:
    """Takes the place of the loop in which a stock sender asks its track for packets; made by `take_sending`.

    The sender goes on to send reports and to answer `getStats`, from the counters that are kept here. Of the header
    extensions there is `mid`, the only one that is negotiated for audio and known of ready packets. No history is
    kept for retransmissions: they are not negotiated for Opus.
    """

    def __init__(self, sender: RTCRtpSender, drive: Drive) -> None:
        self._sender: Any = sender
        self._drive = drive
        self._state = vars(sender)
        self._header = (0x80, 0, 0)  # first byte, marker and payload type, SSRC
        self._extensions = b""
        self._sequence = random.getrandbits(15)  # RFC 3711 §3.3.1: a wrap must not be among the first packets
        self._timestamp_origin = random.getrandbits(32)
        self._waiting: set[asyncio.Task[None]] = set()
        self._state["_run_rtp"] = self._run

    async def _run(self, codec: RTCRtpCodecParameters) -> None:
        """RTCRtpSender.send makes a task of this in place of RTCRtpSender._run_rtp; `stop` cancels it."""
        self._state[_SENDER + "rtp_started"].set()
        assert codec.payloadType is not None  # it was negotiated
        sample = RtpPacket(payload_type=codec.payloadType, marker=1, ssrc=self._sender._ssrc)
        sample.extensions.mid = self._state[_SENDER + "mid"]
        header = sample.serialize(self._state[_SENDER + "rtp_header_extensions_map"])
        self._header = header[0], header[1], sample.ssrc
        self._extensions = header[RTP_HEADER.size :]
        try:
            await self._drive(self._send)
        except ConnectionError:
            logger.debug("no more is sent: the connection is gone")
        finally:
            for task in self._waiting:
                task.cancel()
            self._sender.track.stop()
            self._state[_SENDER + "rtp_exited"].set()

    def _send(self, payload: bytes, track_timestamp: int) -> None:
        """Sends one packet. Raises ConnectionError when the connection is gone."""
        if not self._sender._enabled:
            return
        first, second, ssrc = self._header
        timestamp = (self._timestamp_origin + track_timestamp) & 0xFFFFFFFF
        header = RTP_HEADER.pack(first, second, self._sequence, timestamp, ssrc)
        self._transmit(header + self._extensions + payload)
        self._sequence = (self._sequence + 1) & 0xFFFF
        state = self._state
        state[_NTP_TIMESTAMP] = int((time.time() + NTP_UNIX_SECONDS) * (1 << 32))
        state[_RTP_TIMESTAMP] = timestamp
        state[_OCTET_COUNT] += len(payload)
        state[_PACKET_COUNT] += 1

    def _transmit(self, packet: bytes) -> None:
        dtls = self._sender.transport
        sending = dtls._send_rtp(packet)
        ice = dtls.transport
        if ice._send == ice._connection.send:
            try:
                sending.send(None)
            except StopIteration:  # it is through: nothing on this way waits
                return
            raise RuntimeError("aiortc waits for something while it sends RTP")
        task = asyncio.get_running_loop().create_task(_unless_gone(sending))  # `wrap_sending` may wait
        self._waiting.add(task)
        task.add_done_callback(self._waiting.discard)


async def _unless_gone(sending: Awaitable[None]) -> None:
    try:
        await sending
    except ConnectionError:
        logger.debug("a packet was not sent: the connection is gone")


def take_sending(sender: RTCRtpSender, drive: Drive) -> bool:
    """Lets `drive(send)` send the packets: it calls `send(payload, timestamp)` for each at its time until it returns.

    `timestamp` counts from any origin; `send` raises ConnectionError when the connection is gone. Call it before the
    descriptions are applied. False where this aiortc does not allow it: then the track is asked for packets.
    """
    what = "the own sending of RTP"
    dtls = sender.transport
    if not (
        _has(sender, what, "_run_rtp", "_ssrc", "_enabled", *_SENDER_NAMES)
        and _has(dtls, what, "_send_rtp", "transport")
        and _has(dtls.transport, what, "_send", "_connection")
        and _has(dtls.transport._connection, what, "send")
    ):
        return False
    RtpOutput(sender, drive)
    return True


def wrap_sending(
    ice: RTCIceTransport,
    wrap: Callable[[Callable[[bytes], Awaitable[None]]], Callable[[bytes], Awaitable[None]]],
) -> bool:
    """Puts `wrap(send)` in the place of the function that sends datagrams: for induced loss and delay."""
    private: Any = ice
    if not _has(private, "induced packet loss", "_send"):
        return False
    private._send = wrap(private._send)
    return True
