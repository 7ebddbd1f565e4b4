"""One measurement of peer pairs in a process of its own, so that CPU time and memory belong to it alone.

    python scripts/pair_worker.py KIND MEASURE [--pairs N] [--seconds S] [--loss PERCENT]

KIND: ``stock`` (aiortc's own track, encoder and receiver), ``own`` (ours, written to as packets come), ``playout``
(ours, pulled at 48 kHz), ``pass`` (an Opus file passed on undecoded, written to as packets come; CPU only).
MEASURE: ``cpu``, ``delay``, ``lost`` (delay after one lost packet), ``loss``. One JSON object on stdout.
"""

import argparse
import asyncio
import contextlib
import fractions
import itertools
import json
import random
import resource
import statistics
import tempfile
import wave
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

import av
import numpy as np
from aiortc import (
    MediaStreamTrack,
    RTCBundlePolicy,
    RTCConfiguration,
    RTCPeerConnection,
    RTCSessionDescription,
)
from aiortc.mediastreams import MediaStreamError

from rtc_audio.files import FileSource
from rtc_audio.pacer import PacedPull
from rtc_audio.uplink import Uplink
from rtc_transport.internals import gather_loopback, wrap_sending
from rtc_transport.peer import Peer, PeerEvents
from rtc_transport.tracks import OutgoingTrack
from rtc_transport.voice_paths import BufferedPath, DirectPath

RATE_HZ = 48000
FRAME = 960
CLICK_EVERY = 25  # frames: a burst in every half second, whose place in time tells the delay


# Made once: what the ends cost is measured, not the bench. A frame has whole periods, so frames join.
TONE = np.sin(2 * np.pi * 300 * np.arange(FRAME) / RATE_HZ).astype(np.float32)
CLICK, BED = 0.5 * TONE, 0.01 * TONE


def next_pcm(position: int) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    """A click train over a quiet bed, both of 300 Hz: what is heard tells when it was handed over."""
    return CLICK if position // FRAME % CLICK_EVERY == 0 else BED


@dataclass
class Log:
    """When clicks were handed over and when they came out, and how much came out."""

    handed: list[float] = field(default_factory=list)
    heard: list[float] = field(default_factory=list)
    samples: int = 0
    quiet: bool = True

    def out(self, pcm: Any, rate_hz: int, now: float) -> None:
        self.samples += len(pcm) * RATE_HZ // rate_hz
        loud = bool(pcm.max() > 0.15) if len(pcm) else False
        if loud and self.quiet:
            self.heard.append(now)
        self.quiet = not loud


class StockTrack(MediaStreamTrack):
    """What an aiortc application writes: paced AudioFrames."""

    kind = "audio"

    def __init__(self, log: Log) -> None:
        super().__init__()
        self._log, self._position, self._origin = log, 0, 0.0

    async def recv(self) -> av.AudioFrame:
        loop = asyncio.get_running_loop()
        if not self._position:
            self._origin = loop.time()
        await asyncio.sleep(max(0.0, self._origin + self._position / RATE_HZ - loop.time()))
        if self._position // FRAME % CLICK_EVERY == 0:
            self._log.handed.append(loop.time())
        pcm = (next_pcm(self._position) * 32767).astype(np.int16)
        frame = av.AudioFrame.from_ndarray(pcm[None], format="s16", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = (
            RATE_HZ,
            self._position,
            fractions.Fraction(1, RATE_HZ),
        )
        self._position += FRAME
        return frame


def write_opus_file(path: Path) -> None:
    """The speech that comes with the package as Ogg/Opus: 32 kb/s, 20 ms packets."""
    with wave.open(str(files("rtc_transport") / "data" / "speech.wav")) as speech:
        rate_hz = speech.getframerate()
        pcm = np.frombuffer(speech.readframes(speech.getnframes()), np.int16)
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("libopus", rate=48000, layout="mono")
        stream.bit_rate = 32000
        frame = av.AudioFrame.from_ndarray(pcm[None], format="s16", layout="mono")
        frame.sample_rate = rate_hz
        resampler = av.AudioResampler(format="s16", layout="mono", rate=48000, frame_size=FRAME)
        for part in [*resampler.resample(frame), *resampler.resample(None)]:
            container.mux(stream.encode(part))
        container.mux(stream.encode(None))


class OwnEnd:
    """Our peer, its track and its way to sound. `file` is said again and again instead of the click train."""

    def __init__(self, log_in: Log, log_out: Log, *, playout: bool, file: FileSource | None = None) -> None:
        self._log_in, self._log_out, self._position = log_in, log_out, 0
        loop = asyncio.get_running_loop()
        self.path: BufferedPath | DirectPath
        self._pulling: PacedPull | None = None
        if playout:
            self.path = buffered = BufferedPath(RATE_HZ, "keep")
            self._pulling = PacedPull(RATE_HZ, 480, lambda pcm: log_out.out(pcm[:, 0], RATE_HZ, loop.time()))
            self._pulling.start(lambda n: buffered.pull(n)[:, None])
        else:
            self.path = DirectPath(24000, lambda pcm, _: log_out.out(pcm, 24000, loop.time()))
        if file is None:
            track = OutgoingTrack(self.read)
        else:
            uplink = Uplink(on_error=_fail, on_ended=_fail)
            uplink.set_source(file)
            track = OutgoingTrack(uplink.read, packets=uplink, on_error=_fail)
        self.track = track
        self.peer = Peer(track, self, PeerEvents(), loopback=True)

    def read(self, count: int) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
        if self._position // FRAME % CLICK_EVERY == 0:
            self._log_in.handed.append(asyncio.get_running_loop().time())
        pcm = next_pcm(self._position)
        self._position += FRAME
        return pcm

    def packet(self, sequence: int, timestamp: int, payload: bytes, now: float) -> None:
        self.path.packet(sequence, timestamp, payload, now)

    def restart(self) -> None:
        self.path.restart()

    def decoded(self, pcm: Any, rate_hz: int, now: float) -> None:
        self.path.decoded(pcm, rate_hz, now)

    async def close(self) -> None:
        if self._pulling is not None:
            await self._pulling.aclose()
        self.path.close()
        await self.peer.close()


def _fail(problem: object) -> None:
    raise SystemExit(f"the file does not pass: {problem}")


@dataclass
class Pair:
    """Two connected ends with audio both ways; `forth` and `back` log each direction.

    `arrived_seconds` is the sound, both ways together, that was decoded from packets that came: neither gaps that
    were filled nor frames that the sender left out.
    """

    forth: Log
    back: Log
    connection: RTCPeerConnection
    arrived_seconds: Callable[[], float]
    close: Callable[[], Awaitable[None]]


def arrived_of(*ends: OwnEnd) -> Callable[[], float]:
    return lambda: sum(end.path.stats.decoded_ms for end in ends) / 1000


async def own_pair(*, playout: bool) -> Pair:
    forth, back = Log(), Log()
    left, right = OwnEnd(forth, back, playout=playout), OwnEnd(back, forth, playout=playout)
    await left.peer.accept(await right.peer.answer(await left.peer.offer()))
    await asyncio.gather(left.peer.opened(), right.peer.opened())

    async def close() -> None:
        await asyncio.gather(left.close(), right.close())

    return Pair(forth, back, left.peer.connection, arrived_of(left, right), close)


async def pass_pair() -> Pair:
    """Both ends pass the packets of a file on; raises SystemExit at the end if they did not."""
    forth, back, folder = Log(), Log(), tempfile.TemporaryDirectory()
    write_opus_file(path := Path(folder.name, "speech.ogg"))
    sources = [FileSource(path, loop=True) for _ in range(2)]
    await asyncio.gather(*(source.start() for source in sources))
    left = OwnEnd(forth, back, playout=False, file=sources[0])
    right = OwnEnd(back, forth, playout=False, file=sources[1])
    await left.peer.accept(await right.peer.answer(await left.peer.offer()))
    await asyncio.gather(left.peer.opened(), right.peer.opened())

    async def close() -> None:
        await asyncio.gather(left.close(), right.close())
        await asyncio.gather(*(source.aclose() for source in sources))
        folder.cleanup()
        for end in (left, right):
            if end.track.packets_passed < 0.9 * end.track.packets_sent:
                _fail(f"only {end.track.packets_passed} of {end.track.packets_sent} packets did")

    return Pair(forth, back, left.peer.connection, arrived_of(left, right), close)


async def stock_pair() -> Pair:
    forth, back = Log(), Log()
    config = RTCConfiguration(iceServers=[], bundlePolicy=RTCBundlePolicy.MAX_BUNDLE)
    left, right = RTCPeerConnection(config), RTCPeerConnection(config)
    tasks: list[asyncio.Task[None]] = []

    async def listen(track: MediaStreamTrack, log: Log) -> None:
        loop = asyncio.get_running_loop()
        with contextlib.suppress(MediaStreamError):
            while isinstance(frame := await track.recv(), av.AudioFrame):
                pcm = frame.to_ndarray().reshape(-1, 2)[:, 0] / 32768
                log.out(pcm, frame.sample_rate, loop.time())

    for peer, log_in, log_out in ((left, forth, back), (right, back, forth)):
        peer.addTrack(StockTrack(log_in))
        gather_loopback(peer.getSenders()[0].transport.transport, always=True)
        peer.on(
            "track",
            lambda track, log=log_out: tasks.append(asyncio.ensure_future(listen(track, log))),
        )
    left.createDataChannel("oai-events")
    await left.setLocalDescription(await left.createOffer())
    await right.setRemoteDescription(RTCSessionDescription(left.localDescription.sdp, "offer"))
    await right.setLocalDescription(await right.createAnswer())
    await left.setRemoteDescription(RTCSessionDescription(right.localDescription.sdp, "answer"))
    while not left.connectionState == right.connectionState == "connected":  # noqa: ASYNC110 - stock aiortc, as is
        await asyncio.sleep(0.005)

    async def close() -> None:
        await asyncio.gather(left.close(), right.close())
        await asyncio.gather(*tasks, return_exceptions=True)

    # aiortc fills no gaps: what its tracks give has arrived.
    return Pair(forth, back, left, lambda: (forth.samples + back.samples) / RATE_HZ, close)


async def make_pair(kind: str) -> Pair:
    if kind == "stock":
        return await stock_pair()
    if kind == "pass":
        return await pass_pair()
    return await own_pair(playout=kind == "playout")


def cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


async def measure_cpu(kind: str, pairs: int, seconds: float) -> dict[str, float]:
    """Share of a core per endpoint, and of the sent frames' time that arrived as packets and was decoded."""
    made = [await make_pair(kind) for _ in range(pairs)]
    await asyncio.sleep(1.5)

    def arrived() -> float:
        return sum(pair.arrived_seconds() for pair in made)

    clock = asyncio.get_running_loop().time
    used, sound, began = cpu_seconds(), arrived(), clock()
    await asyncio.sleep(seconds)
    used, sound, span = cpu_seconds() - used, arrived() - sound, clock() - began
    await asyncio.gather(*(pair.close() for pair in made))
    return {
        "percent_per_endpoint": 100 * used / span / (2 * pairs),
        "delivered": sound / (span * 2 * pairs),
    }


def delays_ms(log: Log) -> list[float]:
    """From the frame handed to the track to the click heard, click by click."""
    return [
        1e3 * (heard - max(h for h in log.handed if h <= heard))
        for heard in log.heard
        if log.handed and heard >= log.handed[0]
    ]


def is_rtp(datagram: bytes) -> bool:
    return 127 < datagram[0] < 192 and not 192 <= datagram[1] <= 223


def drop(pair: Pair, rule: Callable[[int], bool]) -> None:
    """Drops outgoing RTP of the left end by its number."""
    numbers = itertools.count()

    def wrap(send: Callable[[bytes], Awaitable[None]]) -> Callable[[bytes], Awaitable[None]]:
        async def lossy(datagram: bytes) -> None:
            if not (is_rtp(datagram) and rule(next(numbers))):
                await send(datagram)

        return lossy

    wrap_sending(pair.connection.getSenders()[0].transport.transport, wrap)


async def measure_delay(kind: str, seconds: float, lost: bool) -> dict[str, float]:
    """Median delay; with `lost`, before one lost packet and from two seconds after it."""
    pair = await make_pair(kind)
    await asyncio.sleep(seconds)
    before = len(pair.forth.heard)
    result = {"median_ms": statistics.median(delays_ms(pair.forth))}
    if lost:
        drop(pair, lambda number: number == 5)
        await asyncio.sleep(2)
        skip = len(pair.forth.heard)
        await asyncio.sleep(seconds)
        after = statistics.median(delays_ms(pair.forth)[skip:])
        result |= {"before_ms": statistics.median(delays_ms(pair.forth)[:before]), "after_ms": after}
    await pair.close()
    return result


async def measure_loss(kind: str, seconds: float, percent: float) -> dict[str, float]:
    """Share of the sound that is missing at random loss."""
    pair = await make_pair(kind)
    await asyncio.sleep(1)
    generator = random.Random(11)
    drop(pair, lambda _: generator.random() < percent / 100)
    samples, began = pair.forth.samples, asyncio.get_running_loop().time()
    await asyncio.sleep(seconds)
    missing = 1 - (pair.forth.samples - samples) / ((asyncio.get_running_loop().time() - began) * RATE_HZ)
    await pair.close()
    return {"missing": max(0.0, missing)}


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("kind", choices=["stock", "own", "playout", "pass"])
    parser.add_argument("measure", choices=["cpu", "delay", "lost", "loss"])
    parser.add_argument("--pairs", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--loss", type=float, default=5.0)
    wanted = parser.parse_args()
    match wanted.measure:
        case "cpu":
            result = await measure_cpu(wanted.kind, wanted.pairs, wanted.seconds)
        case "loss":
            result = await measure_loss(wanted.kind, wanted.seconds, wanted.loss)
        case _:
            result = await measure_delay(wanted.kind, wanted.seconds, wanted.measure == "lost")
    print(json.dumps(result))


if __name__ == "__main__":
    asyncio.run(main())
