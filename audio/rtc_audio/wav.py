"""Writing 16-bit WAV files that are readable at any moment, whatever happens to the process.

`WavWriter` does the blocking work; `BackgroundWav` hands it over to the shared worker threads, so that a slow
disk never stops the event loop.
"""

import asyncio
import io
import os
import stat
import struct
from collections.abc import Callable
from concurrent.futures import Future

import numpy as np
from numpy.typing import NDArray

from .errors import AudioFileError
from .fifo import BlockFifo
from .format import check_channels, check_rate, to_int16
from .ports import Pcm
from .workers import submit

HEADER_BYTES = 44
_MAX_DATA_BYTES = 0xFFFFFFFF - HEADER_BYTES - 1


def wav_header(rate_hz: int, channels: int, data_bytes: int) -> bytes:
    """The 44 bytes before 16-bit PCM (Multimedia Programming Interface 1.0, RIFF WAVE).

    Sizes beyond 4 GiB saturate; readers then play to the end of the file.
    """
    size = min(data_bytes, _MAX_DATA_BYTES)
    frame_bytes = 2 * channels
    form = struct.pack("<4sI4s", b"RIFF", size + HEADER_BYTES - 8, b"WAVE")
    fmt = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, channels, rate_hz, rate_hz * frame_bytes, frame_bytes, 16)
    return form + fmt + struct.pack("<4sI", b"data", size)


class WavWriter:
    """A 16-bit WAV file that grows. Blocking; one thread at a time; every OSError becomes AudioFileError.

    The constructor opens the file, so that an unwritable path is known before the call. A file that is already
    there keeps its content until `begin`; one that is created gets its header at once and is removed by `close` if
    `begin` never came. The header is brought up to date at least once a second of sound.
    """

    def __init__(self, path: str | os.PathLike[str], rate_hz: int, channels: int = 1) -> None:
        self.path = os.fspath(path)
        self.rate_hz = check_rate(rate_hz)
        self.channels = check_channels(channels)
        self.frames = 0
        """Frames that are in the file."""
        self._synced_frames = 0
        self._begun = False
        self._created = not os.path.lexists(self.path)
        self._file: io.FileIO | None = self._open()
        if self._created:
            try:
                self._do(self._write_header)
            except AudioFileError:
                self.close()
                raise

    def begin(self) -> None:
        """Drop the old content and start; after `close`, go on behind what was written so far."""
        if self._file is None:
            self._file = self._open()
        self._do(self._resume if self._begun else self._truncate)
        self._begun = True

    def write(self, samples: NDArray[np.int16]) -> None:
        """Append `[frame, channel]`."""
        self._do(lambda: self._write_all(samples.astype("<i2", copy=False).tobytes()))
        self.frames += len(samples)
        if self.frames - self._synced_frames >= self.rate_hz:
            self.sync()

    def sync(self) -> None:
        """Bring the sizes in the header up to date."""
        self._do(self._write_header)
        self._synced_frames = self.frames

    def close(self) -> None:
        """Finish the header and close; harmless when repeated."""
        file, unused = self._file, self._created and not self._begun
        if file is None:
            return
        try:
            if self._begun:
                self.sync()
        finally:
            self._file = None
            self._do(file.close)
            if unused:
                self._do(lambda: os.unlink(self.path))

    def _open(self) -> io.FileIO:
        try:
            flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
            file = io.FileIO(os.open(self.path, flags, 0o666), "r+b")
        except OSError as exc:
            raise self._error(exc) from exc
        if not file.seekable():
            file.close()
            raise AudioFileError(self.path, "not a file with a beginning and an end", action="write")
        return file

    def _truncate(self) -> None:
        file = self._opened()
        if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            file.truncate(0)
        self._write_header()

    def _resume(self) -> None:
        self._opened().seek(HEADER_BYTES + self.frames * 2 * self.channels)

    def _write_header(self) -> None:
        self._opened().seek(0)
        self._write_all(wav_header(self.rate_hz, self.channels, self.frames * 2 * self.channels))
        self._resume()

    def _write_all(self, data: bytes) -> None:
        view, file = memoryview(data), self._opened()
        while view:
            view = view[file.write(view) or 0 :]

    def _opened(self) -> io.FileIO:
        if self._file is None:
            raise AudioFileError(self.path, "the file is closed", action="write")
        return self._file

    def _do(self, work: Callable[[], None]) -> None:
        try:
            work()
        except OSError as exc:
            raise self._error(exc) from exc

    def _error(self, exc: OSError) -> AudioFileError:
        reason = (exc.strerror or str(exc)).lower()
        if isinstance(exc, FileNotFoundError):
            reason = "its folder does not exist"
        return AudioFileError(self.path, reason, action="write")


class BackgroundWav:
    """A WavWriter behind the shared worker threads; `write` never waits.

    Bounded: while the disk is slower than the sound for longer than `capacity_seconds`, frames are dropped and
    counted in `dropped_frames`. The first error is kept in `failure` and given to `on_error`, on the event loop, at
    the next `write` or `aclose`; nothing is written after it.
    """

    def __init__(
        self,
        writer: WavWriter,
        on_error: Callable[[AudioFileError], None] | None = None,
        *,
        capacity_seconds: float = 10.0,
        batch_seconds: float = 0.2,
    ) -> None:
        self._writer = writer
        self._on_error = on_error
        self._capacity = int(capacity_seconds * writer.rate_hz)
        self._batch = int(batch_seconds * writer.rate_hz)
        self._fifo = BlockFifo(writer.channels)
        self._job: Future[None] | None = None
        self._started = False
        self._reported = False
        self.failure: AudioFileError | None = None
        self.dropped_frames = 0

    @property
    def path(self) -> str:
        """Where the file is, as the user gave it."""
        return self._writer.path

    @property
    def seconds_written(self) -> float:
        """How much sound is in the file."""
        return self._writer.frames / self._writer.rate_hz

    async def start(self) -> None:
        """Truncate the file and write its header, or go on after `aclose`. Raises AudioFileError."""
        if not self._started:
            await asyncio.shield(asyncio.wrap_future(submit(self._writer.begin)))
            self._started = True

    def write(self, pcm: Pcm) -> None:
        """Queue `[frame, channel]`, owned by the file from now on."""
        self._report()
        if not self._started or self.failure is not None or self._fifo.frames + len(pcm) > self._capacity:
            self.dropped_frames += len(pcm)
            return
        self._fifo.put(pcm)
        if self._fifo.frames >= self._batch and (self._job is None or self._job.done()):
            self._job = submit(self._drain)

    async def aclose(self) -> None:
        """Write what waits, finish the header, close. Harmless when repeated; completes even when cancelled."""
        self._started = False
        self._job = submit(self._finish, self._job)
        await asyncio.shield(asyncio.wrap_future(self._job))
        self._report()

    def _finish(self, before: "Future[None] | None") -> None:
        if before is not None:
            before.result()  # no deadlock: it was submitted earlier, so it runs or is done
        self._drain()
        try:
            self._writer.close()
        except AudioFileError as exc:
            self.failure = self.failure or exc

    def _drain(self) -> None:
        try:
            while self.failure is None and self._fifo.frames:
                self._writer.write(to_int16(self._fifo.take(self._writer.rate_hz)))
        except AudioFileError as exc:
            self.failure = exc

    def _report(self) -> None:
        if self.failure is not None and not self._reported:
            self._reported = True
            if self._on_error is not None:
                self._on_error(self.failure)
