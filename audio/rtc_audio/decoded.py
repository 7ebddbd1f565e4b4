"""Playout of sound that somebody else has decoded: a small adaptive delay, no knowledge of packets.

For receivers that hand out PCM, such as a stock WebRTC track. Same pull side as `PlayoutBuffer`.
"""

import math
from collections import Counter

import numpy as np

from .expansion import Expansion, crossfade
from .playout_stats import PlayedSpans, PlayoutStats
from .tape import Mono, Tape
from .time_scale import energy, shorten

PAST_SECONDS = 0.060
START_SECONDS = 0.020  # delay to begin with, and the least
STEP_SECONDS = 0.020  # more after an underrun
MOST_SECONDS = 0.200
FORGET_SECONDS = 20.0  # without an underrun, until the delay is one step less
PAUSE_SECONDS = 0.5  # a longer underrun is a pause of the sender
SLACK_SECONDS = 0.020  # above the target that is left alone
MERGE_SECONDS = 0.005
FLUSH_SECONDS = 0.008
QUIET = 1e-5  # mean square


class DecodedBuffer:
    """`push` mono PCM as it comes, `pull` it in even pieces.

    Begins, also after an underrun, when `target_seconds` of sound are there or have had the time to come. Each
    underrun raises the target by 20 ms, up to 200 ms; 20 s without one lower it again. More than
    `max_delay_seconds` is dropped, oldest first. Single-threaded; `now` is any monotonic clock in seconds.
    """

    def __init__(self, rate_hz: int = 48000, *, max_delay_seconds: float = 1.0) -> None:
        if rate_hz < 8000:
            raise ValueError(f"rate_hz must be 8000 or more, not {rate_hz}")
        if not MOST_SECONDS < max_delay_seconds <= 10:
            raise ValueError(
                f"max_delay_seconds must be above {MOST_SECONDS} and up to 10, not {max_delay_seconds}"
            )
        self._rate_hz, self._limit = rate_hz, round(max_delay_seconds * rate_hz)
        self._tape = Tape(round(PAST_SECONDS * rate_hz), rate_hz // 2)
        self._target, self._since = START_SECONDS, -math.inf  # and when it was last changed
        self._playing = False
        self._waiting_since: float | None = None  # first push that is not being played yet
        self._dry_since: float | None = None
        self._expansion: Expansion | None = None
        self._tail = np.zeros(0, np.float32)  # of what was flushed
        self._pushed = 0
        self._played = PlayedSpans()  # in samples as they were pushed
        self._packet_counts: Counter[str] = Counter()
        self._sample_counts: Counter[str] = Counter()

    def push(self, pcm: Mono, now: float, *, follows: bool = True) -> None:
        """More sound: float32 [frame]; `follows` is False if something is missing in front of it.

        Raises ValueError for another shape or dtype.
        """
        if pcm.dtype != np.float32 or pcm.ndim != 1:
            raise ValueError(f"pcm must be float32 [frame], not {pcm.dtype} with {pcm.ndim} dimension(s)")
        self._packet_counts["received"] += 1
        self._sample_counts["decoded"] += len(pcm)
        if not self._playing and self._waiting_since is None:
            self._waiting_since = now
            self._adapt(now)
        if not follows and self._playing:
            merge = round(MERGE_SECONDS * self._rate_hz)
            pcm = crossfade(Expansion(self._tape.context, self._rate_hz).take(merge), pcm, merge)
        self._tape.append(pcm)
        self._played.add(self._pushed, self._pushed + len(pcm))
        self._pushed += len(pcm)
        if (over := len(self._tape) - self._limit) > 0:
            self._drop(over)

    def pull(self, count: int, now: float) -> Mono:
        """Exactly `count` samples [frame]; silence when there is nothing."""
        if not self._playing:
            waited = self._waiting_since is not None and now - self._waiting_since >= self._target
            if not waited and len(self._tape) < self._target * self._rate_hz + count:
                return self._fill_in(count)
            self._begin()
        elif now - self._since > FORGET_SECONDS and self._target > START_SECONDS:
            self._target, self._since = self._target - STEP_SECONDS, now
        self._shorten(count)
        ready = min(count, len(self._tape))
        pcm = self._tape.take(ready)
        if ready == count:
            return pcm
        self._packet_counts["underruns"] += 1
        self._playing, self._dry_since = False, now
        self._expansion = Expansion(self._tape.past, self._rate_hz)
        return np.concatenate((pcm, self._fill_in(count - ready)))

    def flush(self, now: float) -> None:
        """Drops all that waits, behind a fade of 8 ms."""
        fade = round(FLUSH_SECONDS * self._rate_hz)
        self._sample_counts["removed"] += max(0, len(self._tape) - fade)
        self._played.drop_last(len(self._tape) - fade)
        rest = self._tape.ready[:fade]
        if self._playing and len(rest) < fade:
            more = Expansion(self._tape.context, self._rate_hz).take(fade - len(rest))
            rest = np.concatenate((rest, more))
        self._tail = rest * np.cos(np.linspace(0, np.pi / 2, len(rest), dtype=np.float32)) ** 2
        self._tape.replace(self._tape.ready[:0])
        self._playing, self._expansion = False, None
        self._waiting_since = self._dry_since = None

    @property
    def delay_seconds(self) -> float:
        """Sound that waits."""
        return len(self._tape) / self._rate_hz

    @property
    def target_seconds(self) -> float:
        """Sound that should wait."""
        return self._target

    @property
    def pushed_seconds(self) -> float:
        """Sound that was pushed, all of it: the place of what is pushed next."""
        return self._pushed / self._rate_hz

    def played_ms(self, since_seconds: float) -> float:
        """Milliseconds that were pulled of the sound pushed from that place on; what was flushed does not count."""
        position = self._pushed - len(self._tape)
        return self._played.between(round(since_seconds * self._rate_hz), position) * 1000 / self._rate_hz

    @property
    def stats(self) -> PlayoutStats:
        """What has happened so far; pushes count as packets."""
        return PlayoutStats.of(self._packet_counts, self._sample_counts, self._rate_hz)

    def _adapt(self, now: float) -> None:
        """Sound has come back: was this a late piece, or had the sender paused?"""
        if self._dry_since is not None and now - self._dry_since < PAUSE_SECONDS:
            self._target, self._since = min(self._target + STEP_SECONDS, MOST_SECONDS), now
        self._dry_since = None

    def _begin(self) -> None:
        merge = min(round(MERGE_SECONDS * self._rate_hz), len(self._tape))
        silence = np.zeros(merge, np.float32)
        before = silence if self._expansion is None else self._expansion.take(merge)
        self._tape.replace(crossfade(before, self._tape.ready, merge))
        self._playing, self._waiting_since, self._expansion = True, None, None

    def _fill_in(self, count: int) -> Mono:
        """What is heard while the tape stands still: the rest after a flush, an expansion, silence."""
        if len(self._tail):
            pcm, self._tail = self._tail[:count], self._tail[count:]
            return np.concatenate((pcm, np.zeros(count - len(pcm), np.float32)))
        if self._expansion is None or self._expansion.silent:
            self._sample_counts["silence"] += count
            return np.zeros(count, np.float32)
        self._sample_counts["expanded"] += count
        return self._expansion.take(count)

    def _shorten(self, count: int) -> None:
        excess = len(self._tape) - count - round((self._target + SLACK_SECONDS) * self._rate_hz)
        if excess <= 0:
            return
        ready = self._tape.ready
        quiet = energy(ready) < QUIET
        pcm = shorten(ready, excess, self._rate_hz, quiet=quiet)
        if pcm is not None:
            self._packet_counts["edits"] += 1
            self._sample_counts["removed"] += len(ready) - len(pcm)
            self._tape.replace(pcm)

    def _drop(self, samples: int) -> None:
        self._sample_counts["removed"] += samples
        self._packet_counts["discarded"] += 1
        ready = self._tape.ready
        merge = round(MERGE_SECONDS * self._rate_hz)
        self._tape.replace(
            crossfade(ready, ready[samples:], merge) if self._playing else ready[samples:].copy()
        )
