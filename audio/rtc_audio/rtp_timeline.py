"""RTP's wrapping numbers on one endless line: what an order of packets needs, without a packet class.

The numbers of a stream may wrap, jump (a restarted sender, a new SSRC) or repeat (a sender that gives two packets
one timestamp). Behind this module sequence numbers and media time only ever go on.
"""

from typing import NamedTuple

RTP_CLOCK_HZ = 48000  # of Opus, whatever its sampling rate (RFC 7587 §4.1)
MAX_DROPOUT, MAX_MISORDER = 3000, 100  # packets; RFC 3550 appendix A.1
MAX_AHEAD_SECONDS = 1.0  # media time that runs ahead of the clock by more has jumped


class Place(NamedTuple):
    """Where a packet belongs: a sequence number and a media time (48 kHz ticks) that never wrap."""

    sequence: int
    ticks: int


class RtpTimeline:
    """Places the packets of a stream; `restart()` lets the next packet follow the newest, whatever its numbers."""

    def __init__(self) -> None:
        self._newest: Place | None = None
        self._sent_ticks = 0  # media time of the newest packet by its own timestamp
        self._end_ticks = 0  # where it ends
        self._heard = 0.0
        self._sequence_shift = self._ticks_shift = 0  # from raw numbers to places
        self._restart = False
        self._suspect: int | None = None  # the raw number behind a jump that awaits its confirmation
        self._expected = (-1, -1)  # raw numbers of a packet that follows the newest

    def restart(self) -> None:
        """A new stream begins: its first packet goes right behind what has been placed."""
        self._restart = self._newest is not None

    def ticks(self, timestamp: int) -> int:
        """The media time that a raw timestamp of the stream near the newest packet means."""
        if self._newest is None:
            return timestamp
        return self._sent_ticks + _signed(timestamp + self._ticks_shift - self._sent_ticks, 32)

    def place(self, sequence: int, timestamp: int, duration_ticks: int, now: float) -> Place | None:
        """Where the packet belongs; None for a number so far off that only its successor could confirm it."""
        if self._newest is None:
            self._sent_ticks = timestamp
            return self._advance(Place(sequence, timestamp), duration_ticks, now)
        if (sequence, timestamp) == self._expected and not self._restart and now >= self._heard:
            self._suspect, self._sent_ticks = None, self._end_ticks  # the short way, of nearly all packets
            return self._advance(Place(self._newest.sequence + 1, self._end_ticks), duration_ticks, now)
        step = _signed(sequence + self._sequence_shift - self._newest.sequence, 16)
        if not -MAX_MISORDER <= step <= MAX_DROPOUT and not self._restart:
            if sequence != self._suspect:
                self._suspect = (sequence + 1) & 0xFFFF
                return None
            self._restart = True
        self._suspect = None
        restart, self._restart = self._restart, False
        if restart:
            self._sequence_shift, step = self._newest.sequence + 1 - sequence, 1
        ticks = self.ticks(timestamp)
        if step <= 0:
            return Place(self._newest.sequence + step, min(ticks, self._newest.ticks))
        if restart or ticks < self._sent_ticks or self._runs_ahead(ticks, now):
            self._sent_ticks = ticks = self._following(now)
            self._ticks_shift = ticks - timestamp
        elif ticks == self._sent_ticks:  # more than one packet was given this timestamp
            ticks = self._end_ticks
        else:
            self._sent_ticks = ticks
        return self._advance(Place(self._newest.sequence + step, ticks), duration_ticks, now)

    def _advance(self, place: Place, duration_ticks: int, now: float) -> Place:
        self._newest, self._end_ticks, self._heard = place, place.ticks + duration_ticks, now
        sequence, timestamp = place.sequence + 1 - self._sequence_shift, self._end_ticks - self._ticks_shift
        self._expected = (sequence & 0xFFFF, timestamp & 0xFFFFFFFF)
        return place

    def _following(self, now: float) -> int:
        """Media time of a packet that has arrived `now` and whose own says nothing."""
        assert self._newest is not None
        ticks = self._newest.ticks + round((now - self._heard) * RTP_CLOCK_HZ)
        frame = self._end_ticks - self._newest.ticks
        # Less than a packet behind the end is the network's jitter, no pause of the sender.
        return ticks if ticks >= self._end_ticks + frame else self._end_ticks

    def _runs_ahead(self, ticks: int, now: float) -> bool:
        assert self._newest is not None
        return (ticks - self._end_ticks) / RTP_CLOCK_HZ - (now - self._heard) > MAX_AHEAD_SECONDS


def _signed(difference: int, bits: int) -> int:
    """The shorter way round between two numbers that wrap (RFC 1982)."""
    half = 1 << (bits - 1)
    return ((difference + half) & ((1 << bits) - 1)) - half
