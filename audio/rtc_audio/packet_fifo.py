"""Opus packets of a file, taken out as they are or as sound, with one position for both.

Pure. A packet of the file and a packet of our encoder that is fed the decoded sound are in step when both encoders
look ahead equally far: then a listener hears the same moment of the file from either (measured: within 0.1 ms).
"""

from collections import deque
from dataclasses import dataclass, field

import numpy as np

from .fifo import BlockFifo
from .opus import OpusDecoder, OpusError, packet_seconds
from .ports import Pcm

RATE_HZ = 48000
PACKET_MS = 20
PACKET_FRAMES = RATE_HZ * PACKET_MS // 1000
LOOKAHEAD_FRAMES = 312  # of libopus at 48 kHz; the sound behind it is in the packet that follows
# RFC 7845 §4.6 asks for at least 80 ms before a place in the middle. In voiced speech that still leaves errors of
# 0.1 to 0.3 in the first frame at 32 kb/s (measured); 320 ms leave 0.003, for half a millisecond of decoding.
PREROLL_PACKETS = 16
REWIND_PACKETS = 2
QUIET_PEAK = 10 ** (-50 / 20)


@dataclass(frozen=True, slots=True)
class FilePacket:
    """A packet with how many of its decoded frames belong to the file, all but for the end of a pass."""

    payload: bytes
    frames: int
    pre_skip: int | None = None
    """Frames that are not to be heard (RFC 7845 §4.2), in the first packet of a pass; None in all others."""
    whole: bool = field(init=False)
    """Whether it is as long as a packet that may pass, and all of it belongs to the file."""

    def __post_init__(self) -> None:
        whole = self.frames == PACKET_FRAMES == round(packet_seconds(self.payload) * RATE_HZ)
        object.__setattr__(self, "whole", whole)


class PacketFifo:
    """A `BlockFifo` for packets: `put` on a worker thread, all else on the loop, where packets are decoded when read.

    Decoding holds the GIL wherever it runs and takes 0.05 ms, as for every packet that arrives.
    """

    def __init__(self, channels: int) -> None:
        self.taken = 0
        """Frames that have left as packets or as sound."""
        self._future: deque[FilePacket] = deque()
        self._past: deque[FilePacket] = deque(maxlen=REWIND_PACKETS + PREROLL_PACKETS + 2)  # of this pass
        self._sound = BlockFifo(channels)  # decoded, the end of the past
        self._skip = 0  # frames of the future that are not to be read
        self._begun: FilePacket | None = None  # the first packet of this pass
        self._last: Pcm = np.empty((0, channels), np.float32)  # what was read last
        self._put = 0
        self._used = 0  # frames of all packets that left the future
        self._decoder = OpusDecoder(RATE_HZ, channels)
        self._in_step = False  # whether the decoder has decoded the past

    @property
    def frames(self) -> int:
        """How many frames wait."""
        return max(0, self._put - self._used - self._skip + self._sound.frames)

    def put(self, packet: FilePacket) -> None:
        """Append a packet."""
        self._future.append(packet)
        self._put += packet.frames

    def take(self, n: int) -> Pcm:
        """The first n frames as sound `[frame, channel]`, or all there are."""
        while self._sound.frames < n and self._head() is not None:
            self._decode_next()
        self._last = self._sound.take(n)
        self.taken += len(self._last)
        return self._last

    def take_packet(self) -> bytes | None:
        """The next packet; None if the sound goes on better as PCM.

        That is at the ends of a pass, which are not as long as a packet, and behind sound whose length was not a
        multiple of a packet, until a quiet place allows to say up to 20 ms of it again.
        """
        found = self._find_packet()
        if found is None:
            return None
        behind, repeated = found
        self._step_back(behind)
        packet = self._future.popleft()
        self._past.append(packet)
        self._used += packet.frames
        self._skip, self._in_step = LOOKAHEAD_FRAMES, False
        self.taken += PACKET_FRAMES - repeated
        return packet.payload

    def rewind(self, packets: int) -> int:
        """Go back by so many packets, as far as they are remembered; returns by how many it was."""
        packets = min(packets, REWIND_PACKETS, len(self._past))
        self._step_back(packets)
        self.taken -= sum(self._future[at].frames for at in range(packets))
        return packets

    def _find_packet(self) -> tuple[int, int] | None:
        """How many packets back the next one is, and how many frames it would repeat."""
        self._head()
        behind, repeated = 0, self._skip - self._sound.frames - LOOKAHEAD_FRAMES
        if not self.taken:  # nothing has been said that could be repeated
            return (0, repeated) if self._skip <= PACKET_FRAMES and self._is_whole(0) else None
        while repeated < 0 and behind < len(self._past):
            behind += 1
            repeated += self._past[-behind].frames
        if not 0 <= repeated < PACKET_FRAMES or not self._is_whole(behind):
            return None
        exact = not repeated and self._packet(behind).pre_skip is None
        return (behind, repeated) if exact or self._is_quiet() else None

    def _is_whole(self, behind: int) -> bool:
        """Whether all of a packet, and the look-ahead behind it, is to be heard."""
        if len(self._future) + behind < 2:
            return False
        packet, following = self._packet(behind), self._packet(behind - 1)
        return packet.whole and following.pre_skip is None and following.frames >= LOOKAHEAD_FRAMES

    def _packet(self, behind: int) -> FilePacket:
        return self._past[-behind] if behind > 0 else self._future[-behind]

    def _is_quiet(self) -> bool:
        waiting = self._sound.frames
        rest = self._sound.take(waiting)
        self._sound.put(rest)
        return max(float(np.abs(part).max(initial=0.0)) for part in (self._last, rest)) < QUIET_PEAK

    def _head(self) -> FilePacket | None:
        """The next packet, begun with if it is the first of a pass."""
        if not self._future:
            return None
        packet = self._future[0]
        if packet.pre_skip is not None and packet is not self._begun:
            self._begun, self._skip = packet, packet.pre_skip
            self._past.clear()
            self._in_step = False
        return packet

    def _decode_next(self) -> None:
        if not self._in_step:
            self._decoder.reset()
            for packet in list(self._past)[-PREROLL_PACKETS:]:
                self._decode(packet)
            self._in_step = True
        packet = self._future.popleft()
        self._past.append(packet)
        self._used += packet.frames
        pcm = self._decode(packet)
        dropped = min(self._skip, len(pcm))
        self._skip -= dropped
        self._sound.put(pcm[dropped:])

    def _decode(self, packet: FilePacket) -> Pcm:
        try:
            pcm = self._decoder.decode(packet.payload)
        except OpusError:  # damaged: what the peer would make of it, as near as can be
            pcm = np.zeros((packet.frames, self._sound.channels), np.float32)
        return pcm.reshape(-1, self._sound.channels)[: packet.frames]

    def _step_back(self, packets: int) -> None:
        """Forget what is decoded beyond the place that is `packets` before the future, one look-ahead in it."""
        if packets:
            for _ in range(packets):
                packet = self._past.pop()
                self._future.appendleft(packet)
                self._used -= packet.frames
            self._sound.clear()
            self._skip, self._in_step = LOOKAHEAD_FRAMES, False
