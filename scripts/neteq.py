"""The browser's ears beside ours: libwebrtc with NetEQ (package `wrtc`) hears the packets of a trace in real time.

aiortc sends, several calls at once, over this machine's own address. Its datagrams are encrypted beforehand and sent
when the trace says, or not at all; what NetEQ plays is taken where a sound card would pull it, 10 ms at a time.
"""

import asyncio
import fractions
import importlib.util
import multiprocessing
import os
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import av
import numpy as np
from aiortc import MediaStreamTrack, RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from numpy.typing import NDArray
from scipy.signal import correlate, resample_poly
from voice_link import PACKET_SECONDS, RTP_CLOCK_HZ, Delays, Heard, Mono

from rtc_transport.internals import wrap_sending

AT_ONCE = 13  # calls
MISSING = "NetEQ was not run: pip install wrtc"
CONNECT_SECONDS, TAIL_SECONDS = 20, 0.3
FRAME_SECONDS = 0.010
CLOCK_FRAMES = 100  # on both sides, of which the earliest tells when NetEQ was asked
SEARCH_HZ, WINDOW_SECONDS = 16000, 0.2
LEAST_DELAY_SECONDS, MOST_DELAY_SECONDS = -0.02, 0.6
QUIET = 0.01  # RMS of what is too soft to be found


@dataclass(frozen=True)
class Listening:
    """One call: these packets with these delays; the sender's clock is `sender_ppm` fast."""

    packets: Sequence[bytes]
    delays: Delays
    sender_ppm: float = 0


@dataclass
class Recording:
    """What NetEQ played: blocks of 10 ms with the time at which they were seen."""

    seen: list[float] = field(default_factory=list)
    blocks: list[NDArray[np.float32]] = field(default_factory=list)

    def from_start(self, start: float, seconds: float) -> Mono:
        """The sound from `start` on, at 48 kHz; the clock is that of the blocks that were seen without delay."""
        steady = np.array(self.seen) - np.arange(len(self.seen)) * FRAME_SECONDS
        asked = [
            steady[max(0, at - CLOCK_FRAMES) : at + CLOCK_FRAMES].min() + at * FRAME_SECONDS - start
            for at in range(len(steady))
        ]
        first = int(np.searchsorted(asked, 0.0))
        count = round(seconds * RTP_CLOCK_HZ)
        silence = np.zeros(round(asked[first] * RTP_CLOCK_HZ), np.float32)
        return np.concatenate((silence, *self.blocks[first:], np.zeros(count, np.float32)))[:count]


def missing() -> str | None:
    """Why NetEQ cannot be heard here; None if it can."""
    return None if importlib.util.find_spec("wrtc") else MISSING


def listen(reference: Mono, calls: Sequence[Listening]) -> tuple[list[Heard], float]:
    """Plays the calls, some at once; what was heard, and how late (seconds) the latest hundredth was sent.

    Runs in a process of its own, of real-time priority where that is allowed: NetEQ should meet the network of the
    trace and not the load of this machine.
    """
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), _hurry) as pool:
        return pool.submit(_listen, reference, calls).result()


def _hurry() -> None:
    with suppress(AttributeError, OSError):  # not on Linux; not root
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))


def _listen(reference: Mono, calls: Sequence[Listening]) -> tuple[list[Heard], float]:
    recordings: list[Mono] = []
    late: list[float] = []
    for at in range(0, len(calls), AT_ONCE):
        found, seconds = asyncio.run(_group(calls[at : at + AT_ONCE]))
        recordings += found
        late += seconds
    heard = [
        Heard(pcm, RTP_CLOCK_HZ, _delay_ms(reference, pcm, call.sender_ppm), 0.0)
        for pcm, call in zip(recordings, calls, strict=True)
    ]
    return heard, float(np.percentile(late, 99))


async def _group(calls: Sequence[Listening]) -> tuple[list[Mono], list[float]]:
    lines = [_Line(call.packets) for call in calls]
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            await asyncio.gather(*(line.connect() for line in lines))
        rng, begin = random.Random(1), time.monotonic() + 0.5
        starts = [begin + rng.random() * PACKET_SECONDS for _ in lines]
        late = await _send(lines, calls, starts)
        await asyncio.sleep(max(0, max(starts) + _seconds(calls[0]) + TAIL_SECONDS - time.monotonic()))
        recordings = [
            line.recording.from_start(start, _seconds(call))
            for line, call, start in zip(lines, calls, starts, strict=True)
        ]
        return recordings, late
    finally:
        await asyncio.gather(*(line.close() for line in lines))


def _seconds(call: Listening) -> float:
    return len(call.packets) * PACKET_SECONDS


async def _send(lines: "Sequence[_Line]", calls: Sequence[Listening], starts: Sequence[float]) -> list[float]:
    """Sends every packet at its time; by how many seconds each was late."""
    due = sorted(
        (start + number * PACKET_SECONDS + delay, at, number)
        for at, (call, start) in enumerate(zip(calls, starts, strict=True))
        for number, delay in enumerate(call.delays)
        if delay is not None
    )
    late = []
    for when, at, number in due:
        if (wait := when - time.monotonic()) > 0:
            await asyncio.sleep(wait)
        await lines[at].send(number)
        late.append(time.monotonic() - when)
    return late


class _Packets(MediaStreamTrack):
    """All packets at once, then nothing."""

    kind = "audio"

    def __init__(self, packets: Sequence[bytes]) -> None:
        super().__init__()
        self._packets, self._number = packets, 0

    async def recv(self) -> "av.Packet[Any]":
        if self._number == len(self._packets):
            await asyncio.Event().wait()
        packet: av.Packet[Any] = av.Packet(self._packets[self._number])
        packet.pts, packet.time_base = self._number * 960, fractions.Fraction(1, RTP_CLOCK_HZ)
        self._number += 1
        return packet


class _Line:
    """From aiortc to libwebrtc; `send(number)` lets one packet through."""

    def __init__(self, packets: Sequence[bytes]) -> None:
        import webrtc

        self._count = len(packets)
        self._sender = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self._sender.addTrack(_Packets(packets))
        self._receiver = webrtc.RTCPeerConnection()
        self._datagrams: list[bytes] = []
        self._prepared = asyncio.Event()
        self._reading: asyncio.Task[None] | None = None
        self.recording = Recording()

    async def connect(self) -> None:
        """Returns when the line is up and every packet waits to be let through."""
        import webrtc

        track: asyncio.Future[webrtc.MediaStreamTrack] = asyncio.get_running_loop().create_future()
        gathered, receiver = asyncio.Event(), self._receiver
        receiver.on("track", lambda event: track.set_result(event.track))
        receiver.on("icecandidate", lambda event: gathered.set() if event.candidate is None else None)
        assert wrap_sending(self._sender.getSenders()[0].transport.transport, self._keep)
        await self._sender.setLocalDescription(await self._sender.createOffer())
        offer = webrtc.RTCSessionDescriptionInit("offer", self._sender.localDescription.sdp)
        await receiver.set_remote_description(offer)
        await receiver.set_local_description(await receiver.create_answer())
        await gathered.wait()
        assert receiver.local_description is not None
        await self._sender.setRemoteDescription(
            RTCSessionDescription(receiver.local_description.sdp, "answer")
        )
        self._reading = asyncio.create_task(self._read(await track))
        await self._prepared.wait()

    def _keep(self, send: Callable[[bytes], Awaitable[None]]) -> Callable[[bytes], Awaitable[None]]:
        self._send = send

        async def keep(datagram: bytes) -> None:
            rtp = 127 < datagram[0] < 192 and not 192 <= datagram[1] <= 223  # RFC 5761 §4, RFC 7983
            if not rtp:
                return await send(datagram)
            self._datagrams.append(datagram)
            if len(self._datagrams) == self._count:
                self._prepared.set()

        return keep

    async def send(self, number: int) -> None:
        await self._send(self._datagrams[number])

    async def _read(self, track: object) -> None:
        import webrtc

        assert isinstance(track, webrtc.MediaStreamTrack)
        options = webrtc.MediaStreamTrackProcessorInit(track, max_buffer_size=1000)
        async for block in webrtc.MediaStreamTrackProcessor(options).readable:
            assert isinstance(block, webrtc.AudioData)
            self.recording.seen.append(time.monotonic())
            raw = bytearray(2 * block.number_of_frames * block.number_of_channels)
            block.copy_to(raw, webrtc.AudioDataCopyToOptions(plane_index=0))
            pcm = np.frombuffer(raw, np.int16).reshape(-1, block.number_of_channels)[:, 0]
            assert block.sample_rate == RTP_CLOCK_HZ
            self.recording.blocks.append(pcm.astype(np.float32) / np.float32(32768))
            block.close()

    async def close(self) -> None:
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)
        await self._sender.close()
        self._receiver.close()


def _delay_ms(reference: Mono, heard: Mono, sender_ppm: float) -> NDArray[np.float64]:
    """Mouth to ear at every 10 ms of `heard`, found by correlation with the original; NaN where it is too soft."""
    step = RTP_CLOCK_HZ // SEARCH_HZ
    original, got = resample_poly(reference, 1, step), resample_poly(heard, 1, step)
    window, hop = round(WINDOW_SECONDS * SEARCH_HZ), SEARCH_HZ // 100
    energy = np.cumsum(np.concatenate(([0.0], np.square(original, dtype=np.float64))))
    delays = np.full(len(got) // hop, np.nan)
    for block in range(0, len(delays) - window // hop, 2):
        piece = got[block * hop : block * hop + window]
        first = max(0, block * hop - round(MOST_DELAY_SECONDS * SEARCH_HZ))
        last = block * hop - round(LEAST_DELAY_SECONDS * SEARCH_HZ)
        region = original[first : last + window]
        if np.sqrt(np.mean(piece**2)) < QUIET or len(region) <= window:
            continue
        windows = (
            energy[first + window : first + len(region) + 1]
            - energy[first : first + len(region) - window + 1]
        )
        match = correlate(region, piece, "valid", "fft") / np.sqrt(windows + 1e-6)
        spoken = (first + int(np.argmax(match))) / SEARCH_HZ * (1 - sender_ppm * 1e-6)
        # a packet is sent when its 20 ms have been spoken
        delays[block : block + 2] = (block * FRAME_SECONDS - spoken + PACKET_SECONDS) * 1e3
    return delays
