"""One decoding pass over the first audio stream of a file, by FFmpeg through PyAV. Blocking."""

import errno
import os
import stat
from collections.abc import Generator, Iterator
from typing import Any, NamedTuple

import av
import numpy as np
from numpy.typing import NDArray

from .errors import AudioFileError
from .ports import Pcm


class Block(NamedTuple):
    """Decoded sound with its rate, which may change inside a file."""

    rate_hz: int
    pcm: Pcm


class AudioFile:
    """An open sound file; iterate over `blocks()` once, then `close()`.

    The constructor reads the header and decodes the first frames, so that everything that makes a file unusable
    is known at once. Raises AudioFileError.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = os.fspath(path)
        check_readable(self.path)
        try:
            # The explicit protocol: a name such as "concat:a" is a file like any other.
            self._container = av.open("file:" + self.path, metadata_errors="replace")
        except (av.FFmpegError, OSError, ValueError) as exc:
            raise AudioFileError(self.path, "not a sound file that can be decoded") from exc
        self._frames = self._decode()
        try:
            self._first = self._first_block()
            self.rate_hz = self._first.rate_hz
            self.channels: int = self._first.pcm.shape[1]
            self.duration_seconds = self._duration()
        except BaseException:
            self.close()
            raise

    def blocks(self) -> Iterator[Block]:
        """The sound from the beginning; raises AudioFileError where it cannot be decoded any further."""
        yield self._first
        yield from self._frames

    def close(self) -> None:
        """Release the file; harmless when repeated."""
        self._frames.close()
        self._container.close()

    def _first_block(self) -> Block:
        if not self._container.streams.audio:
            raise AudioFileError(self.path, "no audio stream in it")
        for block in self._frames:
            return block
        raise AudioFileError(self.path, "no sound in it")

    def _decode(self) -> Generator[Block, None, None]:
        try:
            for frame in self._container.decode(audio=0):
                if frame.samples:
                    yield Block(frame.sample_rate, _samples(frame))
        except (av.FFmpegError, OSError, ValueError) as exc:
            raise AudioFileError(self.path, "its sound cannot be decoded") from exc

    def _duration(self) -> float | None:
        stream = self._container.streams.audio[0]
        if stream.duration is not None and stream.time_base is not None:
            return float(stream.duration * stream.time_base)
        return None if self._container.duration is None else self._container.duration / av.time_base


def check_readable(path: str) -> None:
    """Raise AudioFileError, with the reason in plain words, unless `path` is a file with something in it."""
    try:
        status = os.stat(path)
        if stat.S_ISDIR(status.st_mode):
            raise AudioFileError(path, "is a directory")
        if not stat.S_ISREG(status.st_mode):
            raise AudioFileError(path, "not a regular file")  # opening a pipe could wait for ever
        with open(path, "rb"):
            pass
    except OSError as exc:
        missing = exc.errno in (errno.ENOENT, errno.ENOTDIR)
        reason = "no such file" if missing else (exc.strerror or str(exc)).lower()
        raise AudioFileError(path, reason) from exc
    if status.st_size == 0:
        raise AudioFileError(path, "the file is empty")


def _samples(frame: av.AudioFrame) -> Pcm:
    """A frame in any of FFmpeg's sample formats as float32 `[frame, channel]`."""
    raw: NDArray[Any] = frame.to_ndarray()  # [channel, frame] if planar, else [1, frame * channel]
    layout = raw.T if frame.format.is_planar else raw.reshape(frame.samples, -1)
    if raw.dtype.kind == "f":
        return np.ascontiguousarray(layout, dtype=np.float32)
    if raw.dtype.kind == "u":
        layout = layout.astype(np.int16) - 128
    # Through float64: int32 has more digits than float32, and the scaling must not round twice.
    scale = 1.0 / 2 ** (8 * raw.dtype.itemsize - 1)
    pcm: Pcm = (layout * scale).astype(np.float32)
    return pcm
