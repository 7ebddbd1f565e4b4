"""Packets of one stream in their order: duplicates, late ones, holes and pauses told apart. Knows no sound."""

from collections import Counter
from typing import NamedTuple

from .rtp_timeline import RTP_CLOCK_HZ, RtpTimeline


class Packet(NamedTuple):
    """A packet with its place in the stream; media time and durations in ticks of the RTP clock."""

    number: int
    ticks: int
    duration: int
    payload: bytes

    @property
    def end(self) -> int:
        """Media time of the first sample behind it."""
        return self.ticks + self.duration


class PacketQueue:
    """`insert` as they come; `head` is the next to be used, with the number of packets that miss in front of it.

    `counts` takes received, late, duplicate, malformed, lost and discarded packets. Holds at most `max_seconds` of
    media: older packets are discarded.
    """

    def __init__(self, max_seconds: float, counts: Counter[str]) -> None:
        self._limit = round(max_seconds * RTP_CLOCK_HZ)
        self._counts = counts
        self._timeline = RtpTimeline()
        self._packets: dict[int, Packet] = {}
        self._newest = 0
        self._frame = RTP_CLOCK_HZ // 50  # duration of the last packet used
        self._next: int | None = None
        self.next_ticks = 0
        """Media time of what comes next."""
        self.paused = False
        """Whether the sender has sent nothing between the last packet and the head (DTX)."""

    def __len__(self) -> int:
        return len(self._packets)

    @property
    def started(self) -> bool:
        """Whether there is a place that the next packet should have."""
        return self._next is not None

    def insert(
        self, sequence: int, timestamp: int, duration: int, payload: bytes, now: float
    ) -> Packet | None:
        """The packet in its place, late ones too; None for a duplicate and for one that has no place."""
        place = self._timeline.place(sequence, timestamp, duration, now)
        if place is None:
            self._counts["malformed"] += 1
            return None
        number, ticks = place
        if self._next is None:
            self._next, self.next_ticks = number, ticks
        if number in self._packets:
            self._counts["duplicate"] += 1
            return None
        packet = Packet(number, ticks, duration, payload)
        if number < self._next:
            self._counts["late"] += 1
            return packet
        self._packets[number] = packet
        self._newest = max(ticks, self._newest)
        if len(self._packets) > 1:
            while self._newest - min(self._packets.values()).ticks > self._limit:
                self._discard_oldest()
        return packet

    def head(self) -> tuple[Packet, int] | None:
        """The next packet and how many are missing in front of it; moves on over media that was never sent."""
        if not self._packets:
            return None
        assert self._next is not None
        packet = self._packets.get(self._next) or min(self._packets.values())
        hole, missing = packet.number - self._next, packet.ticks - self.next_ticks
        frame = max(self._frame, packet.duration)
        if missing < frame // 4:  # padding used up numbers, or frames overlap
            hole = 0
        if missing > hole * frame + frame // 2:
            self.paused = True
        if not hole or missing > hole * frame:
            self._next, self.next_ticks = packet.number - hole, packet.ticks - hole * frame
        return packet, hole

    @property
    def contiguous(self) -> bool:
        """Whether the next packet is here and follows what was used."""
        head = self.head()
        return head is not None and head[1] == 0 and not self.paused

    def use(self, packet: Packet, *, until: int) -> None:
        """Goes on behind media time `until`: the end of the head, or its beginning if only what is missing was made."""
        assert self._next is not None
        if until >= packet.end:
            self._packets.pop(packet.number, None)
            self._frame = packet.duration
        lost = packet.number - self._next
        self._counts["lost"] += lost
        self._next, self.next_ticks, self.paused = packet.number + (until >= packet.end), until, False

    def skip(self) -> int:
        """Leaves the next frame out, whether it has come or not; its duration."""
        assert self._next is not None
        packet = self._packets.pop(self._next, None)
        self._counts["lost" if packet is None else "discarded"] += 1
        duration = self._frame if packet is None else packet.duration
        self._next, self.next_ticks = self._next + 1, self.next_ticks + duration
        return duration

    def drop(self, packet: Packet) -> None:
        """The packet cannot be used: its place is a hole now."""
        self._packets.pop(packet.number, None)
        self._counts["malformed"] += 1

    def clear(self) -> None:
        """Discards what waits; starts with the next packet that is inserted."""
        self._counts["discarded"] += len(self._packets)
        self._packets.clear()
        self._next, self.paused = None, False

    def restart(self) -> None:
        """Another stream begins with the next packet; what waits stays."""
        self._timeline.restart()

    def ticks(self, timestamp: int) -> int:
        """Media time of a raw RTP timestamp near the newest packet."""
        return self._timeline.ticks(timestamp)

    def _discard_oldest(self) -> None:
        oldest = min(self._packets)
        self._next, self.next_ticks = oldest + 1, self._packets.pop(oldest).end
        self._counts["discarded"] += 1
