"""Adaptive playout of voice packets: everything is decided when the sound card pulls.

Law of this module: no clock and no wait. `insert` keeps a packet, `pull` decides what is heard now. What is
missing then is taken from FEC if the packet behind is there, bridged from both sides if some later one is, and
expanded if nothing is; the decoder does not hear of a loss before it is certain, so a packet that is merely late
decodes as it was sent. The wanted delay comes from `DelayControl`; what is too much or too little goes by edits: any
length in a pause if there is time to wait for one, else one pitch period at a time. Clocks that drift apart need none:
the tape runs as much faster or slower as they differ.
"""

import math
from collections import Counter
from typing import Literal, Protocol

import numpy as np

from .errors import AudioError
from .expansion import Background, Expansion, bridge, crossfade
from .packet_queue import Packet, PacketQueue
from .playout_delay import DelayControl
from .playout_stats import PlayedSpans, PlayoutStats
from .playout_timing import EditTiming
from .rtp_timeline import RTP_CLOCK_HZ
from .tape import Mono, Tape
from .time_scale import GOOD_MATCH, energy, lengthen, shorten

PAST_SECONDS = 0.060
EDIT_SECONDS = 0.027  # of sound that an edit looks at
MAX_TOLD = 3  # frames in a row whose loss the decoder hears of: it has faded out by then
FEC_MEMORY_SECONDS = 5.0  # silence has no FEC: its loss tells as much about the next one in speech
MERGE_SECONDS = 0.005
FLUSH_SECONDS = 0.008


class Decoder(Protocol):
    """What turns payloads into mono PCM [frame] at the rate of the playout; `OpusDecoder` does.

    Errors are AudioErrors.
    """

    @property
    def can_conceal(self) -> bool: ...
    def decode(self, payload: bytes) -> Mono: ...
    def conceal(self, samples: int) -> Mono: ...
    def decode_fec(self, payload: bytes, samples: int) -> Mono: ...
    def has_fec(self, payload: bytes) -> bool: ...
    def frame_samples(self, payload: bytes) -> int: ...


class PlayoutBuffer:
    """Turns packets that come when they come into sound for whoever pulls it.

    `decoder` decodes to mono at `rate_hz`. `late`: "keep" plays speech that comes after a stall late and comes
    back slowly, "drop" leaves out what an expansion has already stood for. `max_delay_seconds` is a hard cap:
    older packets are discarded, pulled or not. Single-threaded; `now` is any monotonic clock in seconds.
    """

    def __init__(
        self,
        decoder: Decoder,
        rate_hz: int = 48000,
        *,
        late: Literal["keep", "drop"] = "keep",
        max_delay_seconds: float = 1.5,
    ) -> None:
        if late not in ("keep", "drop"):
            raise ValueError(f'late must be "keep" or "drop", not {late!r}')
        if rate_hz < 8000 or RTP_CLOCK_HZ % rate_hz:
            raise ValueError(f"rate_hz must be 8000 or more and divide {RTP_CLOCK_HZ}, not {rate_hz}")
        if not 0.1 <= max_delay_seconds <= 10:
            raise ValueError(f"max_delay_seconds must be 0.1 to 10, not {max_delay_seconds}")
        self._decoder, self._rate_hz, self._keep_late = decoder, rate_hz, late == "keep"
        self._scale = RTP_CLOCK_HZ // rate_hz  # ticks in a sample
        self._packet_counts: Counter[str] = Counter()
        self._sample_counts: Counter[str] = Counter()
        self._queue = PacketQueue(max_delay_seconds, self._packet_counts)
        self._delay = DelayControl(rate_hz, max_delay_seconds, keep_late=self._keep_late)
        self._timing = EditTiming(rate_hz)
        self._tape = Tape(round(PAST_SECONDS * rate_hz), rate_hz // 2)
        self._frame = rate_hz // 50  # samples of the newest decoded frame
        self._playing = False
        self._expansion: Expansion | None = None
        self._background = Background(rate_hz)
        self._inserted = 0  # samples expanded since the last frame: delay that was added
        self._told = 0  # frames since the last one whose loss the decoder knows of
        self._end_ticks = 0  # media time behind the last frame on the tape
        self._fec_until: float = -math.inf  # media time up to which the stream counts as one with FEC
        self._repaired = -1  # newest packet whose FEC was told to the arrivals
        self._played = PlayedSpans()

    def insert(self, sequence: int, timestamp: int, payload: bytes, now: float) -> None:
        """Keeps a packet (raw RTP numbers) until it is due. Never raises; empty payloads are padding."""
        if not payload:
            return
        self._packet_counts["received"] += 1
        try:
            samples = self._decoder.frame_samples(payload)
        except AudioError:
            self._packet_counts["malformed"] += 1
            return
        packet = self._queue.insert(sequence, timestamp, samples * self._scale, payload, now)
        if packet is None:
            return
        self._delay.packet(packet.ticks, now, samples / self._rate_hz)
        if self._decoder.has_fec(payload):
            self._fec_until = packet.ticks + FEC_MEMORY_SECONDS * RTP_CLOCK_HZ

    def pull(self, count: int, now: float) -> Mono:
        """Exactly `count` samples [frame] to be played from `now` on; silence when there is nothing."""
        due = self._delay.due(count, now)
        steady = self._playing and self._expansion is None
        extra = self._delay.extra(count, due, self._tape, self._queue.next_ticks if steady else None)
        reach = self._tape.reach(count, extra)
        if self._queue.started:
            self._fill(reach, count, due)
            self._edit(count, due)
        if (short := reach - len(self._tape)) > 0:
            self._sample_counts["silence"] += short
        pcm = self._tape.take(count, extra)
        if self._queue.started:
            self._delay.pulled(self._position, now + count / self._rate_hz)
        return pcm

    def flush(self, now: float) -> None:
        """Drops all that waits, behind a fade of 8 ms; goes on with the next packet that is inserted."""
        count = round(FLUSH_SECONDS * self._rate_hz)
        self._played.drop_last((len(self._tape) - count) * self._scale)
        if self._playing:
            if (short := count - len(self._tape)) > 0:
                self._tape.append(self._expanding().take(short))
            fall = np.cos(np.linspace(0, np.pi / 2, count, dtype=np.float32)) ** 2
            self._tape.replace(self._tape.ready[:count] * fall)
        self._queue.clear()
        self._expansion, self._inserted, self._playing = None, 0, False

    def reset(self) -> None:
        """Another stream (a new SSRC) begins with the next packet; what waits is still played."""
        self._queue.restart()

    # ---- what happens next

    def _excess(self, block: int, now: float) -> int:
        """Samples of delay that could go."""
        return self._delay.excess(len(self._tape), self._queue.next_ticks, block, now)

    def _fill(self, wanted: int, block: int, now: float) -> None:
        """Gets `wanted` samples ready: decoded, recovered, bridged or, with nothing to go on, expanded."""
        while len(self._tape) < wanted:
            head = self._queue.head()
            if head is None:
                return self._expand(wanted, block, now)
            packet, hole = head
            fec = hole > 0 and self._note_repair(packet)
            strict = self._excess(block, now)
            excess = strict + self._delay.slack(block)
            if self._worth_waiting(hole, fec and hole == 1, excess if hole else strict):
                return self._expand(wanted, block, now)
            if self._inserted >= self._frame and excess >= self._frame and (hole or not self._keep_late):
                self._skip()  # the expansion has stood for it
                continue
            cut = self._inserted if self._inserted <= min(strict, self._frame * 7 // 10) else 0
            self._decode(packet, hole, fec, cut)

    def _worth_waiting(self, hole: int, fec: bool, excess: int) -> bool:
        """Whether to expand though there is a packet."""
        if not hole:
            faded = self._expansion is not None and self._expansion.faded
            return excess < 0 and (not self._playing or self._queue.paused or faded)
        return excess < 0 and not fec

    def _note_repair(self, packet: Packet) -> bool:
        """Whether FEC brings the frame in front of `packet`; tells the arrivals, once, what delay that takes."""
        if self._repaired != packet.number and packet.ticks < self._fec_until:
            self._repaired = packet.number
            self._delay.repairable()
        return self._decoder.has_fec(packet.payload)

    def _skip(self) -> None:
        """Leaves a frame out that an expansion has stood for; if it was lost, the decoder is told now."""
        start, lost = self._queue.next_ticks, self._packet_counts["lost"]
        duration = self._queue.skip()
        if self._packet_counts["lost"] > lost and self._told < MAX_TOLD and self._decoder.can_conceal:
            self._decoder.conceal(self._frame)
            self._told += 1
        self._played.add(start, start + duration)
        self._inserted = max(0, self._inserted - duration // self._scale)

    # ---- sound for the tape

    def _decode(self, packet: Packet, hole: int, fec: bool, cut: int) -> None:
        """The next frame without its first `cut` samples, and something for what is missing in front of it."""
        missing = (packet.ticks - self._queue.next_ticks) // self._scale if hole else 0
        samples = packet.duration // self._scale
        gap = max(0, missing - samples) if fec else missing
        try:
            concealed = self._conceal(gap, samples)
            if fec:
                pcm, until = self._decoder.decode_fec(packet.payload, samples)[gap - missing :], packet.ticks
            else:
                pcm, until = self._decoder.decode(packet.payload), packet.end
                self._background.hear(pcm)
        except AudioError:
            return self._queue.drop(packet)
        self._sample_counts["fec" if fec else "decoded"] += len(pcm)
        self._sample_counts["concealed"] += gap
        if concealed is not None:
            pcm = np.concatenate((concealed, pcm))[cut:]
        elif gap > cut:
            before, self._expansion = self._expanding(), None
            self._end_ticks = self._queue.next_ticks
            pcm = np.concatenate((bridge(before, pcm, gap - cut, self._rate_hz), pcm))
        else:
            pcm = pcm[cut - gap :]
        self._frame = samples
        self._append(pcm)
        self._played.add(self._queue.next_ticks, until)
        self._queue.use(packet, until=until)
        self._end_ticks = until

    def _conceal(self, gap: int, frame: int) -> Mono | None:
        """One missing frame by the decoder, which knows best how it went on; None for what is to be bridged.

        Decoders make whole frames only, and a peer's timestamps may leave room for anything.
        """
        if not self._decoder.can_conceal or gap != frame:
            return None
        return self._decoder.conceal(gap)

    def _append(self, pcm: Mono) -> None:
        """Puts sound on the tape, merged with what has stood for it."""
        merge = round(MERGE_SECONDS * self._rate_hz)
        torn = self._queue.next_ticks != self._end_ticks
        if not self._playing:
            pcm = crossfade(np.zeros(merge, np.float32), pcm, merge)
        elif torn or self._expansion is not None:
            pcm = crossfade(self._expanding().take(merge), pcm, merge)
        self._expansion, self._inserted, self._told, self._playing = None, 0, 0, True
        self._tape.append(pcm)

    def _expanding(self) -> Expansion:
        if self._expansion is None:
            self._expansion = Expansion(self._tape.context, self._rate_hz, self._background)
        return self._expansion

    def _expand(self, wanted: int, block: int, now: float) -> None:
        """Fills up without using up any content."""
        count = wanted - len(self._tape)
        if count <= 0 or not self._playing:
            return
        count = self._delay.to_expand(count, self._excess(block, now), block)
        self._packet_counts["underruns"] += self._expansion is None
        expansion = self._expanding()
        self._sample_counts["silence" if expansion.silent else "expanded"] += count
        self._tape.append(expansion.take(count))
        self._inserted += count

    # ---- time scale

    def _edit(self, block: int, now: float) -> None:
        """Brings the delay nearer to the target, unheard."""
        excess = self._delay.to_edit(self._excess(block, now), block)
        if excess == 0:
            self._timing.right(now)
        if excess == 0 or self._expansion is not None or not self._playing:
            return
        while excess > 0 and len(self._tape) < EDIT_SECONDS * self._rate_hz and self._queue.contiguous:
            self._fill(len(self._tape) + 1, block, now)
        when = self._timing.when(excess, energy(self._tape.ready), now)
        if when != "later":
            good_match = -1 if when == "anything" else GOOD_MATCH
            self._scale_time(excess, block, now, quiet=when == "silence", good_match=good_match)

    def _scale_time(self, excess: int, block: int, now: float, *, quiet: bool, good_match: float) -> None:
        before, pcm = len(self._tape), None
        if excess > 0:
            pcm = shorten(self._tape.ready, excess, self._rate_hz, quiet=quiet, good_match=good_match)
        elif before >= block:
            most = min(-excess, self._frame)
            pcm = lengthen(self._tape.context, before, most, self._rate_hz, quiet=quiet)
        if pcm is None:
            return
        self._tape.replace(pcm)
        self._timing.edited(now)
        self._packet_counts["edits"] += 1
        self._sample_counts["removed" if len(pcm) < before else "added"] += abs(len(pcm) - before)

    # ---- what others may know

    @property
    def _position(self) -> float:
        """Media time of the playhead."""
        return self._queue.next_ticks - (len(self._tape) - self._tape.fraction) * self._scale

    @property
    def media_seconds(self) -> float:
        """Media time of the next sample that `pull` returns, on the stream's own clock."""
        return self._position / RTP_CLOCK_HZ

    @property
    def delay_seconds(self) -> float:
        """How far behind the fastest packet the sound is that was pulled last."""
        return self._delay.seconds

    @property
    def target_seconds(self) -> float:
        """How far behind it should be."""
        return self._delay.target_seconds

    def played_ms(self, timestamp: int, until: int | None = None) -> float:
        """Milliseconds that were pulled of the media from one raw RTP timestamp (to another), made-up ones included.

        What was flushed or discarded does not count. Good for the last 256 stretches of uninterrupted sound.
        """
        position = math.floor(self._position)
        stop = position if until is None else min(position, self._queue.ticks(until))
        return self._played.between(self._queue.ticks(timestamp), stop) * 1000 / RTP_CLOCK_HZ

    @property
    def stats(self) -> PlayoutStats:
        """What has happened so far."""
        return PlayoutStats.of(self._packet_counts, self._sample_counts, self._rate_hz)
