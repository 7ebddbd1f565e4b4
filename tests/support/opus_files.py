"""Ogg/Opus files, made by FFmpeg, and what a peer makes of packets."""

from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from rtc_audio.decoding import AudioFile
from rtc_audio.opus import OpusDecoder

Mono = NDArray[np.float32]

RATE_HZ = 48000
FRAME = 960


def write_opus(path: Path, pcm: Mono, *, channels: int = 1, bitrate_bps: int = 32000, **options: Any) -> Path:
    """Encode mono sound at 48 kHz, in every channel the same, with options of FFmpeg's libopus."""
    layout = "mono" if channels == 1 else "stereo"
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("libopus", rate=RATE_HZ, layout=layout)
        stream.bit_rate = bitrate_bps
        stream.options = {name: str(value) for name, value in options.items()}
        for at in range(0, len(pcm), FRAME):
            interleaved = np.repeat(pcm[at : at + FRAME], channels)[None]
            frame = av.AudioFrame.from_ndarray(interleaved, format="flt", layout=layout)
            frame.sample_rate, frame.pts = RATE_HZ, at
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def patch_head(path: Path, *, pre_skip: int = 312, gain: int = 0) -> Path:
    """Change what the header of the file says (RFC 7845 §5.1), and its page's checksum with it."""
    data = bytearray(path.read_bytes())
    head = data.index(b"OpusHead")
    data[head + 10 : head + 12] = pre_skip.to_bytes(2, "little")
    data[head + 16 : head + 18] = gain.to_bytes(2, "little", signed=True)
    end = data.index(b"OggS", 1)
    data[22:26] = bytes(4)
    data[22:26] = _checksum(bytes(data[:end])).to_bytes(4, "little")
    path.write_bytes(data)
    return path


def all_packets(path: str | Path) -> list[bytes]:
    """What is in the file."""
    with closing(AudioFile(path)) as file:
        return [packet.payload for packet in file.packets()]


def decode(packets: Iterable[bytes]) -> Mono:
    """What a peer hears of the packets."""
    decoder = OpusDecoder(RATE_HZ)
    return np.concatenate([decoder.decode(packet) for packet in packets])


def _checksum(page: bytes) -> int:
    """CRC-32 of an Ogg page (RFC 3533 §6), bit by bit."""
    crc = 0
    for byte in page:
        crc ^= byte << 24
        for _ in range(8):
            crc = (crc << 1 ^ 0x04C11DB7) & 0xFFFFFFFF if crc >> 31 else crc << 1
    return crc
