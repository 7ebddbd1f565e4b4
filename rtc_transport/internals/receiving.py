"""RTP on its way in."""

import struct
from collections.abc import Callable, Collection
from dataclasses import replace
from typing import Any, Protocol

from aiortc import RTCRtpTransceiver

from .checks import has, logger

RTP_HEADER = struct.Struct("!BBHII")  # RFC 3550 §5.1


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
            or not has(dtls, what, "_rx_srtp", "transport")
            or not has(dtls.transport, what, "_connection")
        ):
            return False
        connection = dtls.transport._connection
        if not has(connection, what, "data_received") or not has(dtls._rx_srtp, what, "unprotect"):
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
        has(transport, what, "_register_rtp_receiver", "_unregister_rtp_receiver", "_send_rtp")
        and has(transceiver.receiver, what, "receive")
        and has(transceiver.sender, what, "_ssrc")
    ):
        return None
    return RtpPort(transceiver, handler, on_started)
