"""SCTP under the data channel."""

from collections.abc import Callable
from typing import Any

from aiortc import RTCDataChannel
from aiortc.rtcsctptransport import RTCSctpTransport

from .checks import has

SCTP_INITIAL_RTO_SECONDS = 0.5
SCTP_MINIMUM_RTO_SECONDS = 0.2
WEBRTC_STRING_PPID = 51  # RFC 8831 §8


def quicken_sctp(sctp: RTCSctpTransport) -> bool:
    """Starts retransmission timers at 0.5 s and lets them fall to 0.2 s (aiortc: 3 s and 1 s; RFC 9260 §16).

    Realtime control messages are few and small, so the last one of a burst has nothing behind it that would make the
    peer report its loss: only the timer repairs it.
    """
    private: Any = sctp
    if not has(private, "quick SCTP retransmission", "_rto", "_update_rto", "_srtt", "_rttvar"):
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
    if not has(private, "the guard against text that is not UTF-8", "_data_channel_receive"):
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
        self._exact = has(
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
