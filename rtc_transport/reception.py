"""Reception statistics of one RTP stream as receiver reports need them. Pure (RFC 3550 §6.4.1, A.1, A.3, A.8)."""

from dataclasses import dataclass

RTP_CLOCK_HZ = 48000
MAX_DROPOUT = 3000  # RFC 3550 A.1: a larger jump is a restart of the sender
SEQUENCE_MODULO = 1 << 16


@dataclass(frozen=True)
class ReportBlock:
    """The numbers of one report block."""

    fraction_lost: int
    """Share lost since the last report, in 1/256."""
    packets_lost: int
    """Since the beginning, clamped to 24 bits with sign."""
    highest_sequence: int
    """Extended highest sequence number."""
    jitter: int
    """Interarrival jitter in RTP clock units."""
    lsr: int
    """Middle 32 bits of the NTP time of the last sender report; 0 without one."""
    dlsr: int
    """Time since then in 1/65536 s."""


class Reception:
    """Counts what arrives of one SSRC after another; `now` is the arrival time in seconds of any steady clock.

    All figures are those of the present stream, as reports need them, but for the totals.
    """

    def __init__(self) -> None:
        self.packets_received = 0
        self._earlier_received = self._earlier_lost = 0  # in streams that are over
        self._base = 0
        self._highest: int | None = None  # extended
        self._transit: int | None = None
        self._jitter = 0.0
        self._expected_before = self._received_before = 0
        self._sender_report: tuple[int, float] | None = None

    def packet(self, sequence: int, timestamp: int, now: float) -> None:
        """Notes a packet with its raw 16-bit sequence number and 32-bit timestamp."""
        if self._highest is None:
            self._restart(sequence)
        else:
            ahead = (sequence - self._highest + 0x8000) % SEQUENCE_MODULO - 0x8000
            if abs(ahead) > MAX_DROPOUT:
                self._restart(sequence)
            elif ahead > 0:
                self._highest += ahead
        self.packets_received += 1
        transit = (round(now * RTP_CLOCK_HZ) - timestamp) & 0xFFFFFFFF
        if self._transit is not None:
            difference = abs((transit - self._transit + (1 << 31)) % (1 << 32) - (1 << 31))
            self._jitter += (difference - self._jitter) / 16
        self._transit = transit

    def restart(self) -> None:
        """Another SSRC begins with the next packet."""
        self._restart(0)
        self._highest, self._jitter, self._sender_report = None, 0.0, None

    def copy(self, received: int, lost: int, jitter: int) -> None:
        """Takes the figures of somebody else who counts; `jitter` in RTP clock units."""
        self._base, self._highest = 0, received + lost - 1
        self.packets_received, self._jitter = received, float(jitter)

    def _restart(self, sequence: int) -> None:
        self._earlier_received, self._earlier_lost = self.total_received, self.total_lost
        self._base = self._highest = sequence
        self.packets_received = self._expected_before = self._received_before = 0
        self._transit = None

    def sender_report(self, ntp_timestamp: int, now: float) -> None:
        """Notes a sender report with its 64-bit NTP time, for round-trip times at the sender."""
        self._sender_report = ((ntp_timestamp >> 16) & 0xFFFFFFFF, now)

    @property
    def packets_expected(self) -> int:
        """By the sequence numbers seen."""
        return 0 if self._highest is None else self._highest - self._base + 1

    @property
    def packets_lost(self) -> int:
        """Expected minus received; duplicates can make it negative (RFC 3550 §6.4.1)."""
        return self.packets_expected - self.packets_received

    @property
    def total_received(self) -> int:
        """Packets received of all streams so far."""
        return self._earlier_received + self.packets_received

    @property
    def total_lost(self) -> int:
        """Packets lost of all streams so far; never below zero."""
        return self._earlier_lost + max(0, self.packets_lost)

    @property
    def jitter_seconds(self) -> float:
        """Interarrival jitter, smoothed."""
        return self._jitter / RTP_CLOCK_HZ

    def report(self, now: float) -> ReportBlock | None:
        """The report block for now, and a new interval for `fraction_lost`; None before the first packet."""
        if self._highest is None:
            return None
        expected, received = self.packets_expected, self.packets_received
        interval = expected - self._expected_before
        lost = interval - (received - self._received_before)
        self._expected_before, self._received_before = expected, received
        lsr, heard = self._sender_report or (0, now)
        return ReportBlock(
            fraction_lost=(lost << 8) // interval if interval > 0 and lost > 0 else 0,
            packets_lost=max(-(1 << 23), min(self.packets_lost, (1 << 23) - 1)),
            highest_sequence=self._highest & 0xFFFFFFFF,
            jitter=int(self._jitter),
            lsr=lsr,
            dlsr=min(round((now - heard) * 65536), 0xFFFFFFFF),
        )
