"""Incoming RTP: our own receiver where aiortc lets us, its stock track behind the same interface where not.

The own receiver hands every Opus packet on as it arrives, keeps the statistics and sends receiver reports. It goes on
after empty payloads, BYE and a change of SSRC, each of which ends or garbles the stock one.
"""

import asyncio
import logging
import random
from collections.abc import Sequence
from typing import Any, Protocol

import av
import numpy as np
from aiortc import MediaStreamTrack, RTCRtpTransceiver
from aiortc.mediastreams import MediaStreamError
from aiortc.rtp import RtcpReceiverInfo, RtcpRrPacket, RtcpSrPacket
from aiortc.stats import RTCInboundRtpStreamStats
from numpy.typing import NDArray

from .internals import RtpPort, take_rtp
from .reception import Reception

logger = logging.getLogger("rtc_transport.receiver")

COUNT_SECONDS = 0.5  # between two looks at the counters of the stock receiver


class VoiceInput(Protocol):
    """Where incoming audio goes. Nothing here may wait or raise."""

    def packet(self, sequence: int, timestamp: int, payload: bytes, now: float) -> None:
        """An Opus packet with its raw RTP numbers, at its arrival in seconds of the loop's clock."""
        ...

    def restart(self) -> None:
        """The sender began a new stream (another SSRC): numbers start anew."""
        ...

    def decoded(self, pcm: NDArray[np.float32], rate_hz: int, now: float) -> None:
        """Mono PCM from the stock receiver, which decodes by itself."""
        ...


class AudioReceiver(Protocol):
    """What `attach_receiver` returns."""

    reception: Reception
    empty_payloads: int
    own: bool
    """Whether it is the own receiver; the stock one adds 80 ms and has neither FEC nor concealment."""

    def expect(self, payload_types: Sequence[int]) -> None:
        """What our offer gave to Opus. Call it before the answer is applied."""
        ...

    async def aclose(self) -> None:
        """Stops; before the connection is closed. Idempotent."""
        ...


def attach_receiver(transceiver: RTCRtpTransceiver, voice: VoiceInput) -> AudioReceiver:
    """Puts `voice` behind the transceiver; call it before the remote description is applied."""
    receiver = OwnReceiver(voice)
    port = take_rtp(transceiver, receiver, receiver.start)
    if port is None:
        return StockReceiver(transceiver, voice)
    receiver.port = port
    return receiver


class OwnReceiver:
    """Registered on the DTLS transport in the stock receiver's place."""

    own = True

    def __init__(self, voice: VoiceInput) -> None:
        self._voice = voice
        self.port: RtpPort | None = None
        self.reception = Reception()
        self.empty_payloads = 0
        self._ssrc: int | None = None
        self._stream: tuple[int, int] | None = None  # SSRC and payload type of what takes the short way
        self._reports: asyncio.Task[None] | None = None

    def start(self) -> None:
        """RTP may come from now on."""
        if self._reports is None:
            self._reports = asyncio.get_running_loop().create_task(
                self._send_reports(), name="receiver reports"
            )

    def expect(self, payload_types: Sequence[int]) -> None:
        """What our offer gave to Opus. Call it before the answer is applied."""
        if self.port is not None:
            self.port.payload_types = payload_types

    async def aclose(self) -> None:
        """Stops; before the connection is closed. Idempotent."""
        if self.port is not None:
            self.port.close()
        if self._reports is not None:
            self._reports.cancel()
            await asyncio.gather(self._reports, return_exceptions=True)
            self._reports = None

    # aiortc's DTLS transport calls these three, and the port `rtp`.

    def _handle_disconnect(self) -> None:
        """The peer's state tells the same; and aiortc iterates over its receivers here, so nothing is removed."""

    async def _handle_rtcp_packet(self, packet: Any) -> None:
        if isinstance(packet, RtcpSrPacket) and packet.ssrc == self._ssrc:
            self.reception.sender_report(packet.sender_info.ntp_timestamp, asyncio.get_running_loop().time())

    async def _handle_rtp_packet(self, packet: Any, arrival_time_ms: int) -> None:
        if packet.ssrc != self._ssrc:
            if self._ssrc is not None:
                self._voice.restart()
                self.reception.restart()
            self._ssrc = packet.ssrc
        if self.port is not None and self._stream != (packet.ssrc, packet.payload_type):
            self._stream = packet.ssrc, packet.payload_type
            self.port.shorten(*self._stream)
        self.rtp(packet.sequence_number, packet.timestamp, packet.payload)

    def rtp(self, sequence: int, timestamp: int, payload: bytes) -> None:
        """A packet of the present stream."""
        now = asyncio.get_running_loop().time()
        self.reception.packet(sequence, timestamp, now)
        if payload:
            self._voice.packet(sequence, timestamp, payload, now)
        else:  # padding probes (RFC 3550 §5.1) carry no sound
            self.empty_payloads += 1

    async def _send_reports(self) -> None:
        while True:
            await asyncio.sleep(0.5 + random.random())  # RFC 3550 §6.2: randomised over [0.5, 1.5] s
            block = self.reception.report(asyncio.get_running_loop().time())
            if block is None or self.port is None or self._ssrc is None:
                continue
            info = RtcpReceiverInfo(
                ssrc=self._ssrc,
                fraction_lost=block.fraction_lost,
                packets_lost=block.packets_lost,
                highest_sequence=block.highest_sequence,
                jitter=block.jitter,
                lsr=block.lsr,
                dlsr=block.dlsr,
            )
            await self.port.send_rtcp(bytes(RtcpRrPacket(ssrc=self.port.sender_ssrc, reports=[info])))


class StockReceiver:
    """aiortc's own receive path: decoded frames out of its track, always drained."""

    own = False
    empty_payloads = 0

    def __init__(self, transceiver: RTCRtpTransceiver, voice: VoiceInput) -> None:
        self._transceiver = transceiver
        self._voice = voice
        self.reception = Reception()
        self._counted_at = 0.0
        self._task = asyncio.get_running_loop().create_task(self._drain(), name="stock receiver")

    def expect(self, payload_types: Sequence[int]) -> None:
        """aiortc knows the payload types of the answer only."""

    async def aclose(self) -> None:
        """Stops; before the connection is closed. Idempotent."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _drain(self) -> None:
        try:
            while True:
                frame = await (await self._track()).recv()
                if isinstance(frame, av.AudioFrame):
                    pcm = frame.to_ndarray().reshape(-1, len(frame.layout.channels)).mean(axis=1)
                    now = asyncio.get_running_loop().time()
                    self._voice.decoded((pcm / 32768).astype(np.float32), frame.sample_rate, now)
                    if now - self._counted_at >= COUNT_SECONDS:
                        self._counted_at = now
                        await self._count()
        except MediaStreamError:
            logger.debug("the stock track ended")

    async def _count(self) -> None:
        for report in (await self._transceiver.receiver.getStats()).values():
            if isinstance(report, RTCInboundRtpStreamStats):
                self.reception.copy(report.packetsReceived, report.packetsLost, report.jitter)

    async def _track(self) -> MediaStreamTrack:
        # It comes with the remote description; aiortc has no awaitable for that.
        while self._transceiver.receiver.track is None:  # noqa: ASYNC110 - nothing there to be waited for
            await asyncio.sleep(0.02)
        return self._transceiver.receiver.track
