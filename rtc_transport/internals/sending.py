"""RTP on its way out."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from typing import Any

from aiortc import RTCRtpSender
from aiortc.rtcrtpparameters import RTCRtpCodecParameters
from aiortc.rtp import RtpPacket

from .checks import has, logger
from .receiving import RTP_HEADER

NTP_UNIX_SECONDS = 2_208_988_800  # from 1900 to 1970

_SENDER = "_RTCRtpSender__"
_NTP_TIMESTAMP, _RTP_TIMESTAMP = _SENDER + "ntp_timestamp", _SENDER + "rtp_timestamp"
_PACKET_COUNT, _OCTET_COUNT = _SENDER + "packet_count", _SENDER + "octet_count"
_SENDER_NAMES = (
    *(_SENDER + name for name in ("mid", "rtp_started", "rtp_exited", "rtp_header_extensions_map")),
    *(_NTP_TIMESTAMP, _RTP_TIMESTAMP, _PACKET_COUNT, _OCTET_COUNT),
)

Drive = Callable[[Callable[[bytes, int], None]], Awaitable[None]]


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
        has(sender, what, "_run_rtp", "_ssrc", "_enabled", *_SENDER_NAMES)
        and has(dtls, what, "_send_rtp", "transport")
        and has(dtls.transport, what, "_send", "_connection")
        and has(dtls.transport._connection, what, "send")
    ):
        return False
    RtpOutput(sender, drive)
    return True
