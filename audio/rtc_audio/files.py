"""Sound from a file into a call, and the voice of a call into a file. Nothing here waits for a disk on the loop."""

import asyncio
import os
import threading
from collections.abc import Callable, Generator
from concurrent.futures import Future
from contextlib import closing

import numpy as np

from .decoding import AudioFile
from .errors import AudioFileError
from .fifo import BlockFifo
from .format import check_rate, mix_channels
from .pacer import PacedPull
from .packet_fifo import RATE_HZ as OPUS_RATE_HZ
from .packet_fifo import PacketFifo
from .ports import PacketFormat, Pcm, Pull
from .resampler import StreamResampler
from .sinks import Delay, block_frames, check_delay
from .wav import BackgroundWav, WavWriter
from .workers import submit

_START_SECONDS = 1.0
_AHEAD_SECONDS = 2.0
_END = object()


class FileSource:
    """A sound file as a source: anything FFmpeg decodes, the first audio stream of a video too.

    The constructor opens the file and decodes the beginning; it raises AudioFileError when there is nothing to be
    played. The rest is decoded ahead of time on shared worker threads, about two seconds, never on the event loop.
    The file's channels are kept; its rate is kept unless `rate_hz` asks for another. `loop` plays it again and again
    without a gap. While a call is muted the file runs on unheard, as a microphone would.

    Ogg/Opus with packets of 20 ms is a `PacketSource`: its packets leave undecoded as long as nothing has to touch
    their samples, and are only read ahead; what has to be decoded is decoded by `read`, 0.05 ms a packet.

    A file that cannot be decoded beyond some point is played up to there: then `ended` is true and `failure` says why.
    """

    def __init__(
        self, path: str | os.PathLike[str], *, loop: bool = False, rate_hz: int | None = None
    ) -> None:
        self.path = os.fspath(path)
        self._loop = loop
        self._wanted_rate_hz = None if rate_hz is None else check_rate(rate_hz)
        self._decoding = threading.Lock()  # only ever taken on the worker threads
        self._end = asyncio.Event()
        self._job: Future[None] | None = None
        self.failure: Exception | None = None
        """Why the file could not be decoded to its end."""
        self.underruns = 0
        """Reads that got less than they asked for because decoding was late, not because the file had ended."""
        self._open(AudioFile(self.path))

    def _open(self, file: AudioFile) -> None:
        self.rate_hz = file.rate_hz if self._wanted_rate_hz is None else self._wanted_rate_hz
        self.channels = file.channels
        self.duration_seconds = file.duration_seconds
        """Length of one pass as the file states it; None where it does not."""
        self.failure = None
        self.packet_format: PacketFormat | None
        """Of the packets that `read_packet` returns; None where there are none, or `rate_hz` asks for another rate."""
        self.packet_format = file.packet_format if self.rate_hz == OPUS_RATE_HZ else None
        self._fifo: BlockFifo | PacketFifo
        if self.packet_format is None:
            self._fifo = blocks = BlockFifo(self.channels)
            self._steps = self._decode(file, blocks)
        else:
            self._fifo = packets = PacketFifo(self.channels)
            self._steps = self._demux(file, packets)
        self._decoded = False  # nothing will be added to the fifo any more
        self._closed = False
        self._end.clear()
        next(self._steps)

    @property
    def ended(self) -> bool:
        """True once the last frame has been read, or after `aclose`."""
        return self._closed or (self._decoded and self._fifo.frames == 0)

    @property
    def position_seconds(self) -> float:
        """How much has been read, all passes of a loop together."""
        return self._fifo.taken / self.rate_hz

    async def start(self) -> None:
        """Decode the first second; returns when it is there or the file has ended. Again: does nothing.

        After `aclose` the file is opened anew and begins with its first frame; raises AudioFileError if it cannot be.
        Cancellation leaves the source usable.
        """
        if self._closed:
            self._open(await asyncio.wrap_future(submit(AudioFile, self.path)))
        if not self._decoded and self._fifo.frames < _START_SECONDS * self.rate_hz:
            self._job = submit(self._decode_ahead, _START_SECONDS)
            await asyncio.shield(asyncio.wrap_future(self._job))

    def read(self, n: int, /) -> Pcm:
        """Up to n frames `[n, channels]`; fewer when the file ends or decoding is late (`underruns`)."""
        pcm = self._fifo.take(0 if self._closed else n)
        if not self.ended and len(pcm) < n and not self._decoded:
            self.underruns += 1
        self._have_taken()
        return pcm

    def read_packet(self) -> bytes | None:
        """The next 20 ms as a packet (`packet_format`); None where `read` goes on better, as at the end."""
        if self._closed or not isinstance(self._fifo, PacketFifo):
            return None
        payload = self._fifo.take_packet()
        self._have_taken()
        return payload

    def rewind(self, packets: int, /) -> int:
        """Behind `read_packet`: let `read` begin with the last packets' sound again, up to two; returns how many."""
        if self._closed or not isinstance(self._fifo, PacketFifo):
            return 0
        return self._fifo.rewind(packets)

    async def wait_ended(self) -> None:
        """Wait until the last frame has been read by whoever reads, or the source is closed. Safe to cancel."""
        if not self.ended:
            await self._end.wait()

    async def aclose(self) -> None:
        """Stop decoding and close the file; harmless when repeated, completes even when cancelled."""
        self._closed = True
        self._end.set()
        await asyncio.shield(asyncio.wrap_future(submit(self._close, self._steps)))

    def _have_taken(self) -> None:
        if self.ended:
            self._end.set()
        low = self._fifo.frames < _AHEAD_SECONDS / 2 * self.rate_hz
        if low and not self._decoded and not self._closed and (self._job is None or self._job.done()):
            self._job = submit(self._decode_ahead, _AHEAD_SECONDS)

    def _decode_ahead(self, seconds: float) -> None:
        with self._decoding:
            try:
                while not self._decoded and not self._closed and self._fifo.frames < seconds * self.rate_hz:
                    self._decoded = next(self._steps, _END) is _END
            except Exception as exc:  # noqa: BLE001 - whatever it is, it must not vanish in a worker thread
                self.failure = exc
                self._decoded = True

    def _close(self, steps: Generator[None, None, None]) -> None:
        with self._decoding:
            steps.close()

    def _decode(self, file: AudioFile, fifo: BlockFifo) -> Generator[None, None, None]:
        """All passes over the file as one stream at `rate_hz`; a pass decodes afresh, so that all are equal."""
        convert = _Converter(self.rate_hz, self.channels)
        while True:
            frames = 0
            with closing(file):
                for block in file.blocks():
                    frames += len(block.pcm)
                    fifo.put(convert.push(block.rate_hz, block.pcm))
                    yield
            if not self._loop or not frames:
                break
            file = AudioFile(self.path)
        fifo.put(convert.flush())

    def _demux(self, file: AudioFile, fifo: PacketFifo) -> Generator[None, None, None]:
        """All passes over the file as packets."""
        while True:
            with closing(file):
                for packet in file.packets():
                    fifo.put(packet)
                    yield
            if not self._loop:
                break
            file = AudioFile(self.path)


class _Converter:
    """Brings what a file holds, whose rate and channels may change on the way, into one format."""

    def __init__(self, rate_hz: int, channels: int) -> None:
        self._rate_hz = rate_hz
        self._channels = channels
        self._resampler = StreamResampler(rate_hz, rate_hz, channels=channels)

    def push(self, rate_hz: int, pcm: Pcm) -> Pcm:
        tail: Pcm | None = None
        if rate_hz != self._resampler.rate_in:
            tail = self._resampler.flush()
            self._resampler = StreamResampler(rate_hz, self._rate_hz, "hq", self._channels)
        converted = self._resampler.push(mix_channels(pcm, self._channels))
        return converted if tail is None or not len(tail) else np.concatenate((tail, converted))

    def flush(self) -> Pcm:
        return self._resampler.flush()


class FileSink:
    """The voice of the call as a 16-bit mono WAV file.

    The constructor opens the file, so that an unwritable path raises AudioFileError before the call; a file that is
    already there keeps its content until `start`. A crash leaves a readable file, short by less than two seconds.
    After `aclose` the same object may be started again and goes on behind what it wrote.

    `delay="adaptive"`: pulled every `block_ms` in real time. `delay="none"`: written as the packets come.
    An error while writing (a full disk) is kept in `failure` and given once to `on_error`; the call goes on.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        rate_hz: int = 24000,
        delay: Delay = "adaptive",
        on_error: Callable[[AudioFileError], None] | None = None,
        block_ms: float = 10.0,
    ) -> None:
        self.rate_hz = check_rate(rate_hz)
        self.delay: Delay = check_delay(delay)
        self._paced = PacedPull(rate_hz, block_frames(rate_hz, block_ms), self.write)
        self._wav = BackgroundWav(WavWriter(path, rate_hz), on_error)

    @property
    def path(self) -> str:
        """Where the file is, as the user gave it."""
        return self._wav.path

    @property
    def failure(self) -> AudioFileError | None:
        """The first error of the disk; nothing is written after it."""
        return self._wav.failure

    @property
    def seconds_written(self) -> float:
        """How much sound is in the file."""
        return self._wav.seconds_written

    @property
    def dropped_frames(self) -> int:
        """Frames that are missing in the file, because the disk failed or was too slow."""
        return self._wav.dropped_frames

    async def start(self, pull: Pull, /) -> None:
        """Empty the file and begin. Raises AudioFileError."""
        await self._wav.start()
        if self.delay == "adaptive":
            self._paced.start(pull)

    def write(self, pcm: Pcm, /) -> None:
        """Append frames `[n, 1]`; never waits."""
        self._wav.write(pcm)

    async def aclose(self) -> None:
        """Stop, write what waits, finish the header. Harmless when repeated, completes even when cancelled."""
        try:
            await self._paced.aclose()
        finally:
            await self._wav.aclose()
