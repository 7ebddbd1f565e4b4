"""The outgoing audio track: ours for the life of the call, paced on the clock, encoded by us.

It drives the sending itself (`OutgoingTrack.drive`); where aiortc does not allow that, it returns ready Opus packets.
Either way aiortc neither resamples nor encodes nor computes levels, and no failure of a source can end the sender:
whatever goes wrong becomes silence and one report.
"""

import asyncio
import fractions
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import av
import numpy as np
from aiortc import MediaStreamTrack
from aiortc.mediastreams import MediaStreamError
from av.stream import Stream
from numpy.typing import NDArray

from rtc_audio.opus import Application, OpusEncoder
from rtc_audio.pacer import GRID_SECONDS, Pacer
from rtc_audio.ports import PacketFormat

from .encoding import EncodingThread, Frame
from .sdp import OpusFormat

logger = logging.getLogger("rtc_transport.tracks")

RTP_CLOCK_HZ = 48000  # RFC 7587 §4.1, whatever the sampling rate
TIME_BASE = fractions.Fraction(1, RTP_CLOCK_HZ)

FRAME_MS = (10, 20, 40, 60)
DTX_BYTES = 2  # opus.h: what is no longer need not be sent

LATE_SECONDS = 0.010  # in time is who shares an instant with ten others
STRAIN = 10  # so many more late frames than others are no single stall
MAX_HANDED_OVER = 5

ReadFrame = Callable[[int], NDArray[np.float32] | None]
"""read(n) -> n mono samples at the track's rate, or None to send nothing for that time; must not wait."""


Send = Callable[[bytes, int], None]
"""send(payload, timestamp): one Opus packet and its time since the track began, in 1/48000 s; it never wraps."""


class PacketFeed(Protocol):
    """What may go out undecoded, beside a `ReadFrame` with the same position. Must not wait."""

    def read_packet(self, limit: PacketFormat) -> bytes | None:
        """The next packet; None: read PCM instead."""
        ...

    def take_lead_in(self) -> Sequence[NDArray[np.float32]]:
        """Behind the first PCM that follows packets: the frames before it, which the packets said."""
        ...


@dataclass(frozen=True)
class OpusSettings:
    """How our voice is encoded. What the peer states in its SDP bounds these (`bounded_by`).

    Raises ValueError for another `frame_ms` than 10, 20, 40 or 60.
    """

    rate_hz: int = 48000
    frame_ms: int = 20
    bitrate_bps: int = 64_000
    complexity: int = 5
    fec: bool = True
    expected_loss_percent: int = 10
    dtx: bool = False
    application: Application = "voip"

    def __post_init__(self) -> None:
        if self.frame_ms not in FRAME_MS:
            raise ValueError(f"frame_ms must be 10, 20, 40 or 60, not {self.frame_ms}")

    def format(self) -> OpusFormat:
        """What we state in our own SDP: what we like to receive."""
        return OpusFormat(useinbandfec=True, usedtx=self.dtx)

    def bounded_by(self, peer: OpusFormat) -> "OpusSettings":
        """These settings within what the peer asked for (RFC 7587 §6.1)."""
        bitrate = min(self.bitrate_bps, peer.maxaveragebitrate or self.bitrate_bps)
        frame = self.frame_ms if peer.maxptime is None else min(self.frame_ms, max(10, peer.maxptime))
        return replace(
            self,
            bitrate_bps=max(bitrate, 6000),
            frame_ms=max(f for f in FRAME_MS if f <= frame),
            fec=self.fec and peer.useinbandfec,
            dtx=self.dtx and peer.usedtx,
        )

    def encoder(self) -> OpusEncoder:
        """A mono encoder with these settings; raises ValueError for what Opus does not have."""
        return OpusEncoder(
            self.rate_hz,
            1,
            frame_ms=self.frame_ms,
            bitrate_bps=self.bitrate_bps,
            complexity=self.complexity,
            fec=self.fec,
            expected_loss_percent=self.expected_loss_percent,
            dtx=self.dtx,
            application=self.application,
        )


class OutgoingTrack(MediaStreamTrack):
    """Reads PCM, encodes it and hands packets to aiortc at their time; passes on packets that `packets` has instead.

    RTP time follows the monotonic clock. What a short stall of the event loop delayed is sent afterwards, at most two
    packets back to back; a long one is skipped, and `on_skip(samples)` is told what was left out. `on_error` is told of
    faults of `read` and of the encoder, once until a frame succeeds again.
    """

    kind = "audio"

    def __init__(
        self,
        read: ReadFrame,
        settings: OpusSettings | None = None,
        *,
        packets: PacketFeed | None = None,
        on_error: Callable[[Exception], None] | None = None,
        on_skip: Callable[[int], None] | None = None,
    ) -> None:
        super().__init__()
        self._read = read
        self._packets = packets
        self._passing = False  # what was sent last was not encoded here
        self._on_error = on_error
        self._on_skip = on_skip
        self._faulty = False
        self.packets_sent = 0
        self.packets_passed = 0
        """Those among `packets_sent` that were not encoded here."""
        self.bytes_sent = 0
        self.skipped_frames = 0
        """Frames that were not sent because the event loop was late."""
        self.handed_over = 0
        """Frames that are in the encoding thread."""
        self.configure(settings or OpusSettings())

    def configure(self, settings: OpusSettings, peer: OpusFormat | None = None) -> None:
        """Takes new settings, and what the peer wants of packets that are passed on (RFC 7587 §6.1).

        Meant for the time before the first packet, harmless later.
        """
        self.settings = settings
        peer = peer or OpusFormat()
        self._limit = PacketFormat(settings.frame_ms, 2 if peer.stereo else 1, peer.maxaveragebitrate)
        self._encoder = settings.encoder()
        self._expected_loss = settings.expected_loss_percent
        self._samples = settings.rate_hz * settings.frame_ms // 1000
        self._silence = np.zeros(self._samples, np.float32)
        self._pacer = Pacer(settings.frame_ms / 1000, grid_seconds=GRID_SECONDS)
        self._frame_clock = RTP_CLOCK_HZ * settings.frame_ms // 1000
        self._timestamp = getattr(self, "_timestamp", 0)

    def expect_loss(self, percent: int) -> None:
        """Tells the encoder how much loss the peer reports; never less than the settings ask for."""
        self._expected_loss = min(100, max(percent, self.settings.expected_loss_percent))
        self._prepare()

    def _prepare(self) -> None:
        free = not self.handed_over  # else the thread has it
        if free and self._encoder.expected_loss_percent != self._expected_loss:
            self._encoder.expected_loss_percent = self._expected_loss

    async def recv(self) -> "av.Packet[Stream]":
        """The next packet, at its time. Raises MediaStreamError once the track is stopped."""
        clock = asyncio.get_running_loop().time
        while self.readyState == "live":
            now = clock()
            if (due := self.next_due(now)) > now:
                await asyncio.sleep(due - now)
            if (frame := self.next_frame()) is None:
                continue
            frame.encode()
            if (payload := self.finished(frame)) is not None:
                packet: av.Packet[Stream] = av.Packet(payload)
                packet.pts, packet.time_base = frame.timestamp, TIME_BASE
                return packet
        raise MediaStreamError

    async def drive(self, send: Send) -> None:
        """Hands every packet to `send` at its time, in the place of `recv`, until the track is stopped.

        What `send` raises ends it and comes out. It costs one timer a packet, and no task is woken. What an overloaded
        event loop is late with is encoded in a thread, which all tracks of the loop share.
        """
        drive = _Drive(self, send)
        try:
            await drive.end
        finally:
            drive.close()

    def next_due(self, now: float) -> float:
        """When the next frame is to be sent."""
        wait, skipped = self._pacer.next(now)
        if skipped:
            self.skip(skipped)
        return now + wait

    def next_frame(self) -> Frame | None:
        """What is said now, to be encoded or a packet already; None: nothing is. Never raises."""
        timestamp, self._timestamp = self._timestamp, self._timestamp + self._frame_clock
        frame = Frame(timestamp, self._encoder, self._silence)
        try:
            if (payload := self._passed_on()) is not None:
                frame.payload = payload
                return frame
            pcm = self._read(self._samples)
            if pcm is None:
                return None
            if self._passing and self._packets is not None:
                self._passing = False
                frame.lead_in = [part.copy() for part in self._packets.take_lead_in()]
            frame.pcm = pcm
        except Exception as error:  # noqa: BLE001 - aiortc would end the sender for good: silence, one report
            frame.error, frame.lead_in = error, ()
        return frame

    def finished(self, frame: Frame) -> bytes | None:
        """The packet, if it is to be sent; its error is reported, once until a frame succeeds again."""
        if frame.error is not None and not self._faulty and self._on_error is not None:
            self._on_error(frame.error)
        self._faulty = frame.error is not None
        self._prepare()
        payload = frame.payload
        if payload is None or (self.settings.dtx and len(payload) <= DTX_BYTES):
            return None
        self.packets_sent += 1
        self.bytes_sent += len(payload)
        return payload

    def skip(self, frames: int) -> None:
        """So many frames are not sent."""
        self.skipped_frames += frames
        self._timestamp += frames * self._frame_clock
        if self._on_skip is not None:
            self._on_skip(frames * self._samples)

    def _passed_on(self) -> bytes | None:
        payload = None if self._packets is None else self._packets.read_packet(self._limit)
        if payload is not None:
            self._passing = True
            self.packets_passed += 1
        return payload


class _Drive:
    """One run of `OutgoingTrack.drive`; `end` is done when the track is stopped or `send` has raised."""

    def __init__(self, track: OutgoingTrack, send: Send) -> None:
        self._track, self._send = track, send
        self._loop = asyncio.get_running_loop()
        self.end: asyncio.Future[None] = self._loop.create_future()
        self._strain = 0  # frames that were late, less those that were not
        self._helper: EncodingThread | None = None
        self._timer = self._wait()

    def close(self) -> None:
        """Nothing is sent any more."""
        self._timer.cancel()
        if self._helper is not None:
            self._helper.release()

    def _wait(self) -> asyncio.TimerHandle:
        now = self._loop.time()
        return self._loop.call_at(self._track.next_due(now), self._on_due)

    def _on_due(self) -> None:
        if self.end.done():
            return
        if self._track.readyState != "live":
            self.end.set_result(None)
            return
        late = self._loop.time() - self._timer.when() > LATE_SECONDS
        self._strain = min(max(self._strain + (1 if late else -1), 0), 2 * STRAIN)
        try:
            self._step()
            self._timer = self._wait()
        except Exception as error:  # noqa: BLE001 - told to who awaits
            self.end.set_exception(error)

    def _step(self) -> None:
        track = self._track
        if track.handed_over >= MAX_HANDED_OVER:
            return track.skip(1)
        if (frame := track.next_frame()) is None:
            return
        if track.handed_over or (self._strain > STRAIN and frame.payload is None):
            if self._helper is None:
                self._helper = EncodingThread.acquire(self._loop)
            frame.pcm = frame.pcm.copy()  # what it was read from goes on
            track.handed_over += 1
            self._helper.encode(frame, self._on_encoded)
        else:
            frame.encode()
            self._finish(frame)

    def _on_encoded(self, frame: Frame) -> None:
        self._track.handed_over -= 1
        if not self.end.done():
            try:
                self._finish(frame)
            except Exception as error:  # noqa: BLE001 - told to who awaits
                self.end.set_exception(error)

    def _finish(self, frame: Frame) -> None:
        if (payload := self._track.finished(frame)) is not None:
            self._send(payload, frame.timestamp)
