"""One pass over the first audio stream of a file, decoded or not, by FFmpeg through PyAV. Blocking."""

import errno
import itertools
import os
import stat
import struct
from collections.abc import Generator, Iterator
from typing import Any, NamedTuple

import av
import numpy as np
from numpy.typing import NDArray

from .errors import AudioFileError
from .libopus import OpusError
from .opus_packet import packet_seconds
from .packet_fifo import PACKET_MS, RATE_HZ, FilePacket
from .ports import PacketFormat, Pcm

# Tags that are not UTF-8 make no file unusable. PyAV 19 takes them as they are and has lost the option.
_ANY_TAGS: dict[str, Any] = (
    {"metadata_errors": "replace"} if int(av.__version__.partition(".")[0]) < 19 else {}
)


class Block(NamedTuple):
    """Decoded sound with its rate, which may change inside a file."""

    rate_hz: int
    pcm: Pcm


class AudioFile:
    """An open sound file; iterate once, over `blocks()` or over `packets()`, then `close()`.

    The constructor reads the header and decodes the first frames, so that everything that makes a file unusable
    is known at once. Raises AudioFileError.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = os.fspath(path)
        check_readable(self.path)
        try:
            # The explicit protocol: a name such as "concat:a" is a file like any other.
            self._container = av.open("file:" + self.path, **_ANY_TAGS)
        except (av.FFmpegError, OSError, ValueError) as exc:
            raise AudioFileError(self.path, "not a sound file that can be decoded") from exc
        self._consumed: list[av.Packet[Any]] = []  # since the last block
        self._pre_skip = 0
        self._frames = self._decode()
        try:
            self._first = self._first_block()
            self.rate_hz = self._first.rate_hz
            self.channels: int = self._first.pcm.shape[1]
            self.duration_seconds = self._duration()
            self.packet_format = self._packet_format()
            """What `packets()` has: Ogg/Opus with 20 ms packets; None for anything else."""
        except BaseException:
            self.close()
            raise

    def blocks(self) -> Iterator[Block]:
        """The sound from the beginning; raises AudioFileError where it cannot be decoded any further."""
        yield self._first
        yield from self._frames

    def packets(self) -> Iterator[FilePacket]:
        """The packets from the beginning; raises AudioFileError where the file cannot be read any further."""
        pre_skip: int | None = self._pre_skip
        try:
            for packet in itertools.chain(self._consumed, self._demuxed):
                if packet.size:
                    payload = bytes(packet)
                    frames = round(packet_seconds(payload) * RATE_HZ)
                    if pre_skip is None:
                        pre_skip = _skipped_in_front(packet)
                    yield FilePacket(payload, min(frames, packet.duration or frames), pre_skip)
                    pre_skip = None
        except (av.FFmpegError, OSError, ValueError, OpusError) as exc:
            raise AudioFileError(self.path, "its packets cannot be read") from exc

    def close(self) -> None:
        """Release the file; harmless when repeated."""
        self._frames.close()
        self._container.close()

    def _first_block(self) -> Block:
        if not self._container.streams.audio:
            raise AudioFileError(self.path, "no audio stream in it")
        self._demuxed = self._container.demux(audio=0)
        for block in self._frames:
            return block
        raise AudioFileError(self.path, "no sound in it")

    def _decode(self) -> Generator[Block, None, None]:
        try:
            for packet in self._demuxed:
                self._consumed.append(packet)
                for frame in packet.decode():
                    if frame.samples:
                        yield Block(frame.sample_rate, _samples(frame))
                        self._consumed.clear()
        except (av.FFmpegError, OSError, ValueError) as exc:
            raise AudioFileError(self.path, "its sound cannot be decoded") from exc

    def _packet_format(self) -> PacketFormat | None:
        head = self._container.streams.audio[0].codec_context.extradata or b""
        if self._container.format.name != "ogg" or head[:8] != b"OpusHead" or len(head) < 19:
            return None
        version, channels, self._pre_skip, _, gain, family = struct.unpack_from("<BBHIhB", head, 8)
        if version > 15 or channels > 2 or gain or family:  # RFC 7845 §5.1; a gain changes the samples
            return None
        try:
            if packet_seconds(bytes(self._consumed[0])) != PACKET_MS / 1000:
                return None
        except OpusError:
            return None
        seconds = self.duration_seconds
        bitrate_bps = round(8 * os.path.getsize(self.path) / seconds) if seconds else None
        return PacketFormat(PACKET_MS, channels, bitrate_bps)

    def _duration(self) -> float | None:
        stream = self._container.streams.audio[0]
        if stream.duration is not None and stream.time_base is not None:
            return float(stream.duration * stream.time_base)
        return None if self._container.duration is None else self._container.duration / av.time_base


def _skipped_in_front(packet: "av.Packet[Any]") -> int | None:
    """The pre-skip of a chained stream (RFC 3533 §4) that begins with this packet; None: it goes on."""
    if not packet.has_sidedata("skip_samples"):
        return None
    (frames,) = struct.unpack_from(
        "<I", bytes(packet.get_sidedata("skip_samples"))
    )  # AV_PKT_DATA_SKIP_SAMPLES
    return frames or None


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
