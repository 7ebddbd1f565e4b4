"""The border where the faults of a source stop: whatever a source does, sound in a fixed format comes out.

Used by `Uplink` only.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np

from .errors import UnsupportedFormat
from .format import mix_channels, replace_nonfinite
from .kernels import Quality
from .levels import RAMP_SECONDS, Seam
from .opus_packet import packet_seconds
from .ports import AudioSource, PacketFormat, PacketSource, Pcm
from .resampler import PullResampler

_T = TypeVar("_T")

# An encoder must have heard what comes before its first packet, but what it remembers is not what the peer's decoder
# remembers, and its prediction leans on that: with one packet the peak of the joint is at most 1.1 to 1.2 times that of
# the sound in 99 % of all places, with two 1.5, with none the joint clicks (measured at 32 kb/s).
_LEAD_IN_PACKETS = 1


@dataclass
class Intake:
    """What the inputs of one uplink share: their format, their counters, and what is to be told.

    Faults and ends are only noted here: who is told may exchange the source, which must not happen inside a read.
    """

    rate_hz: int
    channels: int
    quality: Quality
    silence_frames: int = 0
    nonfinite_samples: int = 0
    source_errors: int = 0
    faults: list[Exception] = field(default_factory=list)
    ended: list[AudioSource] = field(default_factory=list)
    lead_in: list[Pcm] = field(default_factory=list)
    """What the packets said that have just passed, where sound goes on from them: a block for each of the last ones."""


class Chain:
    """Seam and resampler of one source at one rate; after `detach` only what is left of the sound comes out."""

    def __init__(self, rate_hz: int, read: Callable[[int], Pcm], intake: Intake) -> None:
        self.rate_hz = rate_hz
        self._read: Callable[[int], Pcm] | None = read
        self._nothing = np.empty((0, intake.channels), np.float32)
        self._seam = Seam(rate_hz, intake.channels)
        self._resampler = PullResampler(self._draw, rate_hz, intake.rate_hz, intake.quality, intake.channels)
        self._tail_frames = round((RAMP_SECONDS + 2 * self._resampler.delay_seconds) * intake.rate_hz) + 1

    def pull(self, n: int) -> Pcm:
        """Exactly n frames at the rate of the intake."""
        if self._read is None:
            self._tail_frames -= n
        return self._resampler.pull(n)

    def detach(self) -> None:
        """Read no more."""
        self._read = None

    @property
    def exhausted(self) -> bool:
        """True when a detached chain has nothing left but silence."""
        return self._tail_frames <= 0

    def _draw(self, n: int) -> Pcm:
        return self._seam.fill(self._nothing if self._read is None else self._read(n), n)


class Input:
    """One source, read without ever raising. `leaving` takes the chains whose sound has to fade away."""

    def __init__(self, source: AudioSource, intake: Intake, leaving: list[Chain]) -> None:
        self.source = source
        self._intake = intake
        self._leaving = leaving
        self._chain: Chain | None = None
        self._faulty = False
        self._ended = False
        self._passed = False  # the sound so far left as packets, beside the chain
        self._packets = self._guard(lambda: source if isinstance(source, PacketSource) else None)
        self._packets_fail = False

    @property
    def live(self) -> bool:
        """Whether the source says that its sound happens now (ClearableSource)."""
        return bool(self._guard(lambda: getattr(self.source, "live", False)))

    def pull(self, n: int) -> Pcm:
        """Exactly n frames in the format of the intake."""
        if self._passed:
            self._go_on_as_sound()
        chain = self._guard(self._current_chain)
        if chain is None:
            self._intake.silence_frames += n
            return np.zeros((n, self._intake.channels), np.float32)
        return chain.pull(n)

    def read_packet(self, limit: PacketFormat) -> bytes | None:
        """The next of the source's Opus packets, if it has such that fit."""
        if self._packets is None or self._packets_fail or self._ended:
            return None
        try:
            payload = self._offered(self._packets, limit)
        except Exception as exc:  # noqa: BLE001 - user code at the border of the media path: read as sound from now on
            self._fault(exc)
            self._packets_fail, payload = True, None
        if payload is not None:
            self._passed, self._chain = True, None
        return payload

    def detach(self) -> None:
        """Let what has been read fade away; the next `pull` begins anew."""
        if self._passed:
            self._go_on_as_sound()
        if self._chain is not None:
            self._chain.detach()
            self._leaving.append(self._chain)
            self._chain = None

    def clear_backlog(self) -> bool:
        """Make the source drop what it has queued; False if it does not queue (ClearableSource)."""
        clear = self._guard(lambda: getattr(self.source, "clear", None))
        if not callable(clear):
            return False
        self.detach()  # what follows does not join what was read
        if not self._ended:
            self._guard(clear)
            self._guard(self._notice_end)
        return True

    def skip(self, n: int) -> None:
        """Throw away what a live source captured during n frames of the intake; others stay where they are."""
        if self.live and self._chain is not None:
            rate_hz = self._chain.rate_hz
            self.detach()
            self._guard(lambda: self.source.read(round(n * rate_hz / self._intake.rate_hz)))

    def _offered(self, source: PacketSource, limit: PacketFormat) -> bytes | None:
        offered = source.packet_format
        if offered is None or not offered.fits(limit):
            return None
        payload = source.read_packet()
        if payload is not None and round(1000 * packet_seconds(payload)) != limit.packet_ms:
            raise UnsupportedFormat(
                f"{_name(source)}.read_packet returned {len(payload)} bytes that are not {limit.packet_ms} ms of Opus"
            )
        return payload

    def _go_on_as_sound(self) -> None:
        """Fill a chain with the end of what the packets said, so that what follows joins it."""
        self._passed = False
        self._intake.lead_in.clear()
        packets = self._guard(self._rewound)
        chain = self._guard(self._current_chain)
        if chain is not None and packets is not None:
            count, packet_ms = packets
            frames = self._intake.rate_hz * packet_ms // 1000
            self._intake.lead_in += [chain.pull(frames) for _ in range(count)]

    def _rewound(self) -> tuple[int, int] | None:
        source = self._packets
        if source is None or source.packet_format is None:
            return None
        return source.rewind(_LEAD_IN_PACKETS), source.packet_format.packet_ms

    def _current_chain(self) -> Chain:
        rate_hz = self.source.rate_hz
        if self._chain is None or self._chain.rate_hz != rate_hz:
            self.detach()
            self._chain = Chain(rate_hz, self._read, self._intake)
        return self._chain

    def _read(self, n: int) -> Pcm:
        pcm = None if self._ended else self._guard(lambda: self._checked(n))
        if pcm is None:
            pcm = np.empty((0, self._intake.channels), np.float32)
        if len(pcm) < n and self._chain is not None:
            self._intake.silence_frames += round((n - len(pcm)) * self._intake.rate_hz / self._chain.rate_hz)
        return pcm

    def _checked(self, n: int) -> Pcm:
        source = self.source
        pcm = source.read(n)
        if getattr(pcm, "ndim", None) != 2 or pcm.dtype != np.float32:
            raise UnsupportedFormat(
                f"{_name(source)}.read returned {_shape(pcm)}: need float32 [frame, channel]"
            )
        if len(pcm) > n:
            raise UnsupportedFormat(f"{_name(source)}.read({n}) returned {len(pcm)} frames: at most {n} fit")
        if pcm.shape[1] != source.channels:
            raise UnsupportedFormat(
                f"{_name(source)}.read returned {_shape(pcm)}: need {source.channels} channels, as it states"
            )
        self._notice_end()
        mixed = mix_channels(pcm, self._intake.channels)
        own = mixed.copy() if mixed is pcm else mixed  # the source may use its array again
        bad = replace_nonfinite(own)
        self._intake.nonfinite_samples += bad
        if bad:
            self._fault(
                UnsupportedFormat(f"{_name(source)}.read returned {bad} samples that are NaN or infinite")
            )
        else:
            self._faulty = False
        return own

    def _notice_end(self) -> None:
        if self.source.ended:
            self._ended = True
            self._intake.ended.append(self.source)

    def _guard(self, work: Callable[[], _T]) -> _T | None:
        try:
            return work()
        except Exception as exc:  # noqa: BLE001 - user code at the border of the media path: silence instead
            self._fault(exc)
            return None

    def _fault(self, exc: Exception) -> None:
        self._intake.source_errors += 1
        if not self._faulty:
            self._faulty = True
            self._intake.faults.append(exc)


def _name(source: object) -> str:
    return type(source).__name__


def _shape(value: object) -> str:
    return f"{value.dtype} {list(value.shape)}" if isinstance(value, np.ndarray) else type(value).__name__
