"""The voice in a bad network: PESQ and mouth-to-ear delay of the playout, stock aiortc beside it, in virtual time.

Every trace is 20 s of speech, mono Opus at 32 kb/s with FEC; figures are means over the seeds. PESQ depends on the
speech, so a goal is not compared as it stands: a fixed playout with libopus' FEC and concealment (the "limit": its
delay is chosen in hindsight) plays the same packets in the same run, and the goal keeps its distance to the limit.
NetEQ's figures are those of Chromium, measured once on other speech.
"""

import os
import time
import tracemalloc
from collections import deque
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache
from typing import Literal, cast

import numpy as np
from av import AudioFrame
from bench_common import Row
from voice_link import (
    CODEC_SECONDS,
    FIRST_SEQUENCE,
    FIRST_TIMESTAMP,
    RTP_CLOCK_HZ,
    Delays,
    Engine,
    Heard,
    Mono,
    both,
    bursty,
    encode,
    jittery,
    lossy,
    pesq_wb,
    play,
    skewed,
    speech,
    stalling,
    stoi,
)

from rtc_audio.opus import OpusDecoder
from rtc_audio.playout import PlayoutBuffer

RATE_HZ = 24000
SECONDS = 20
CLEAN_LIMIT_PESQ = 3.83  # on the speech of the design
LONG_SECONDS, SOAK_SECONDS = 600, 1800


@dataclass(frozen=True)
class Trace:
    """A network and what is asked for on it; PESQ figures as the design has them."""

    name: str
    delays: Callable[[int, int], Delays]  # number of packets, seed
    goal_ms: float
    goal_pesq: float
    limit_pesq: (
        float | None
    )  # of a fixed playout on the speech of the design; None: clean speech is the limit
    limit_ms: float
    neteq: str
    late: Literal["keep", "drop"] = "keep"
    last_second: bool = False  # whether the delay counts at the end, not in the median
    sender_ppm: float = 0


def reordered(count: int, seed: int) -> Delays:
    return jittery(count, 0.04, seed, ordered=False)


def jittery_and_lossy(count: int, seed: int) -> Delays:
    return both(jittery(count, 0.06, seed), lossy(count, 0.05, seed + 100))


STALL = "200 ms stall every 5 s"
TRACES = (
    Trace("clean", lambda n, s: [0.0] * n, 42, 3.80, 3.83, 31, "3.85 / 58"),
    Trace("loss 1 %", lambda n, s: lossy(n, 0.01, s), 58, 3.70, 3.72, 51, "3.65 / 71"),
    Trace("loss 3 %", lambda n, s: lossy(n, 0.03, s), 58, 3.57, 3.58, 51, "3.52 / 64"),
    Trace("loss 5 %", lambda n, s: lossy(n, 0.05, s), 58, 3.44, 3.55, 51, "3.39 / 69"),
    Trace("loss 10 %", lambda n, s: lossy(n, 0.10, s), 60, 2.82, 2.85, 51, "2.77 / 75"),
    Trace("loss 20 %", lambda n, s: lossy(n, 0.20, s), 60, 2.10, 2.14, 51, "2.05 / 69"),
    Trace("bursts 5 %", bursty, 68, 3.07, 3.01, 51, "3.07 / 78"),
    Trace("jitter 0-40 ms", lambda n, s: jittery(n, 0.04, s), 85, 3.80, 3.83, 71, "3.84 / 96"),
    Trace("jitter 0-40 ms, reordered", reordered, 85, 3.80, 3.83, 71, "3.84 / 96"),
    Trace("jitter 0-80 ms", lambda n, s: jittery(n, 0.08, s), 120, 3.78, 3.83, 111, "3.84 / 129"),
    Trace("jitter 0-60 ms + loss 5 %", jittery_and_lossy, 115, 3.25, 3.35, 111, "3.19 / 124"),
    Trace(STALL, lambda n, s: stalling(n), 170, 2.90, None, 31, "3.22 / 245", last_second=True),
    Trace(f'{STALL}, late="drop"', lambda n, s: stalling(n), 60, 0, None, 31, "3.22 / 245", "drop", True),
    Trace(
        "sender clock +500 ppm", lambda n, s: skewed(n, 500), 45, 3.80, None, 31, "3.82 / 62", sender_ppm=500
    ),
)


class FixedPlayout:
    """The limit: one delay for the whole call, libopus' FEC and concealment."""

    def __init__(self, delay_seconds: float) -> None:
        self._decoder, self._delay = OpusDecoder(RATE_HZ), delay_seconds
        self._payloads: dict[int, bytes] = {}
        self._ready = np.zeros(0, np.float32)
        self._next: int | None = None
        self.media_seconds = 0.0

    def insert(self, sequence: int, timestamp: int, payload: bytes, now: float) -> None:
        self._payloads[(sequence - FIRST_SEQUENCE) & 0xFFFF] = payload

    def pull(self, count: int, now: float) -> Mono:
        if self._next is None:
            if now < self._delay:
                return np.zeros(count, np.float32)
            self._next = 0
        while len(self._ready) < count:
            self._ready = np.concatenate((self._ready, self._frame(self._next)))
            self._next += 1
        pcm, self._ready = self._ready[:count], self._ready[count:]
        return pcm

    def _frame(self, number: int) -> Mono:
        payload, behind = self._payloads.pop(number, None), self._payloads.get(number + 1)
        if payload is not None:
            return self._decoder.decode(payload)
        if behind is not None and self._decoder.has_fec(behind):
            return self._decoder.decode_fec(behind, RATE_HZ // 50)
        return self._decoder.conceal(RATE_HZ // 50)


class StockPlayout:
    """aiortc's own jitter buffer and decoder, and behind them a plain queue that the sound card empties."""

    rate_hz = 48000

    def __init__(self) -> None:
        from aiortc.codecs.opus import OpusDecoder as StockDecoder
        from aiortc.jitterbuffer import JitterBuffer

        self._jitter, self._decoder = JitterBuffer(capacity=16, prefetch=4), StockDecoder()
        self._frames: deque[tuple[int, Mono]] = deque()  # media time, sound
        self._ticks = FIRST_TIMESTAMP

    def insert(self, sequence: int, timestamp: int, payload: bytes, now: float) -> None:
        from aiortc.rtp import RtpPacket

        packet = RtpPacket(payload_type=96, sequence_number=sequence, timestamp=timestamp, payload=payload)
        packet._data = payload  # type: ignore[attr-defined]  # what the receiver sets
        _, frame = self._jitter.add(packet)
        if frame is None:
            return
        for sound in cast("list[AudioFrame]", self._decoder.decode(frame)):
            ticks = FIRST_TIMESTAMP + ((frame.timestamp - FIRST_TIMESTAMP) & 0xFFFFFFFF)
            pcm = sound.to_ndarray().reshape(-1, 2)[:, 0].astype(np.float32) / np.float32(32768)
            self._frames.append((ticks, pcm))

    @property
    def media_seconds(self) -> float:
        return (self._frames[0][0] if self._frames else self._ticks) / RTP_CLOCK_HZ

    def pull(self, count: int, now: float) -> Mono:
        out = np.zeros(count, np.float32)
        at = 0
        while at < count and self._frames:
            ticks, pcm = self._frames.popleft()
            take = min(count - at, len(pcm))
            out[at : at + take] = pcm[:take]
            if take < len(pcm):
                self._frames.appendleft((ticks + take, pcm[take:]))
            at, self._ticks = at + take, ticks + take
        return out


@cache
def material() -> tuple[Mono, list[bytes]]:
    pcm = speech(SECONDS)
    return pcm, encode(pcm)


@dataclass(frozen=True)
class Figures:
    """What one engine reached on one seed of a trace."""

    pesq: float
    stoi: float
    delay_ms: float
    drift_ms: float
    clicks: float
    silence_ms: float = 0.0
    microseconds: float = 0.0


def measure(job: tuple[int, str, int]) -> Figures:
    """One engine ("ours", "limit" or "stock") on one seed of the trace with that index."""
    index, engine, seed = job
    trace, (pcm, payloads) = TRACES[index], material()
    rate_hz, player = RATE_HZ, PlayoutBuffer(OpusDecoder(RATE_HZ), RATE_HZ, late=trace.late)
    chosen: Engine = player
    if engine == "limit":
        chosen = FixedPlayout(trace.limit_ms / 1000 - CODEC_SECONDS)
    elif engine == "stock":
        chosen, rate_hz = StockPlayout(), StockPlayout.rate_hz
    delays = trace.delays(len(payloads), seed)
    heard = play(chosen, rate_hz, payloads, delays, seed, sender_ppm=trace.sender_ppm)
    return Figures(
        pesq_wb(pcm, heard),
        stoi(pcm, heard) if engine != "stock" else 0.0,
        heard.last_second_ms() if trace.last_second else heard.median_ms(),
        heard.last_second_ms() - heard.median_ms(),
        clicks(heard, payloads) if engine == "ours" else 0,
        player.stats.silence_ms,
        heard.microseconds,
    )


def clicks(heard: Heard, payloads: list[bytes]) -> int:
    """10 ms blocks with a second difference that the sent sound nowhere has, half of it on top."""
    decoder = OpusDecoder(heard.rate_hz)
    sent = np.concatenate([decoder.decode(payload) for payload in payloads])
    rough = np.abs(np.diff(heard.pcm, 2)) > 1.5 * np.abs(np.diff(sent, 2)).max()
    return len(np.unique(np.flatnonzero(rough) // (heard.rate_hz // 100)))


def mean(figures: list[Figures]) -> Figures:
    names = Figures.__dataclass_fields__
    return Figures(*(float(np.mean([getattr(one, name) for one in figures])) for name in names))


def trace_rows(trace: Trace, ours: Figures, limit: Figures, stock: Figures) -> list[Row]:
    """PESQ and delay of one trace; the goal for PESQ is as far from this run's limit as in the design."""
    neteq_pesq, neteq_ms = trace.neteq.split(" / ")
    goal = limit.pesq + trace.goal_pesq - (trace.limit_pesq or CLEAN_LIMIT_PESQ)
    where = "last second" if trace.last_second else "median"
    asked = f"≥ {goal:.2f} (limit {limit.pesq:.2f}; NetEQ {neteq_pesq})" if trace.goal_pesq else "–"
    met = ours.pesq >= goal - 0.005 if trace.goal_pesq else None
    ratio = ours.delay_ms / stock.delay_ms
    delays = (
        round(ours.delay_ms, 1),
        round(stock.delay_ms, 1),
        ratio,
        f"≤ {trace.goal_ms:g} (NetEQ {neteq_ms})",
    )
    return [
        Row(f"{trace.name}: PESQ-WB", round(ours.pesq, 2), round(stock.pesq, 2), None, asked, "MOS", met),
        Row(f"{trace.name}: mouth to ear, {where}", *delays, "ms", ours.delay_ms <= trace.goal_ms),
    ]


def summary_rows(ours: list[Figures], clean_limit: Figures) -> list[Row]:
    """What holds over all traces."""
    drift = next(one.drift_ms for trace, one in zip(TRACES, ours, strict=True) if "ppm" in trace.name)
    calm = [one.silence_ms for trace, one in zip(TRACES, ours, strict=True) if STALL not in trace.name]
    clicks_each = float(np.mean([one.clicks for one in ours]))
    cost = float(np.median([one.microseconds for one in ours]))
    stoi_goal = clean_limit.stoi - 0.01
    return [
        Row(
            "+500 ppm: last second against median", round(drift, 1), "–", None, "±10", "ms", abs(drift) <= 10
        ),
        Row("silence put in, worst trace without stalls", round(max(calm), 1), "–", None, "–", "ms", None),
        Row("clicks in 20 s, mean", round(clicks_each, 2), "–", None, "≤ 1", "", clicks_each <= 1),
        Row(
            "STOI, clean",
            ours[0].stoi,
            "–",
            None,
            f"≥ {stoi_goal:.3f} (limit)",
            "",
            ours[0].stoi >= stoi_goal,
        ),
        Row("insert, decode and pull, 24 kHz", round(cost, 1), "–", None, "≤ 60", "µs per 10 ms", cost <= 60),
    ]


# ---- the sender

SENDERS = (
    (32_000, 5),
    (32_000, 9),
    (48_000, 5),
    (64_000, 5),
    (64_000, 9),
)  # bit/s, complexity; mono with FEC
LOSSES = (0.0, 0.05, 0.10)


def sender_row(sender: tuple[int, int]) -> Row:
    """Quality on clean and lossy links, and CPU time, of one setting of the encoder; the default is the fourth."""
    bitrate_bps, complexity = sender
    pcm, _ = material()
    started = time.thread_time()
    payloads = encode(pcm, bitrate_bps=bitrate_bps, complexity=complexity)
    cost = (time.thread_time() - started) / len(payloads) * 1e6
    found = []
    for share in LOSSES:
        player = PlayoutBuffer(OpusDecoder(RATE_HZ), RATE_HZ)
        heard = play(player, RATE_HZ, payloads, lossy(len(payloads), share, 1001), 1001)
        found.append(f"{pesq_wb(pcm, heard):.2f}")
    name = f"sender, {bitrate_bps // 1000} kb/s, complexity {complexity}: PESQ at 0 / 5 / 10 % loss"
    return Row(name, " / ".join(found), f"{cost:.0f} µs a packet", None, "–", "MOS", None)


# ---- long calls


LONG: dict[str, tuple[Callable[[int], Delays], float]] = {  # delays, the longest median delay in ms
    "clean": (lambda n: [0.0] * n, 45),
    "jitter 0-60 ms": (lambda n: jittery(n, 0.06, 7), 105),
    "loss 5 %": (lambda n: lossy(n, 0.05, 7), 60),
    "loss 20 %": (lambda n: lossy(n, 0.20, 7), 62),
    "bursts 5 %": (lambda n: bursty(n, 7), 68),
    "200 ms stall every 5 s": (lambda n: stalling(n), 190),
    "1 s outage every minute": (lambda n: [None if i % 3000 >= 2950 else 0.0 for i in range(n)], 68),
    "sender clock -500 ppm": (lambda n: skewed(n, -500), 48),
    "sender clock +500 ppm": (lambda n: skewed(n, 500), 48),
}


def long_rows(name: str) -> list[Row]:
    """Ten minutes of one network: delay, silence, and that nothing drifts away."""
    delays, goal_ms = LONG[name]
    _, payloads = material()
    count = LONG_SECONDS * 50
    player = PlayoutBuffer(OpusDecoder(RATE_HZ), RATE_HZ)
    sent, ppm = (
        [payloads[i % len(payloads)] for i in range(count)],
        float(name.partition("clock")[2][:5] or 0),
    )
    heard = play(player, RATE_HZ, sent, delays(count), 1, sender_ppm=ppm)
    median, worst = heard.median_ms(), float(heard.delay_ms[100:-100].max())  # the fast sender is done early
    share = player.stats.silence_ms / LONG_SECONDS / 10
    text = f"{median:.0f} median, {worst:.0f} worst, {share:.2f} % silence"
    return [Row(f"10 minutes, {name}", text, "–", None, f"median ≤ {goal_ms:g}", "ms", median <= goal_ms)]


def soak_row() -> Row:
    """Memory that is kept after half an hour of a lossy, jittery call, against after one minute."""
    _, payloads = material()
    grown: list[int] = []
    player = PlayoutBuffer(OpusDecoder(RATE_HZ), RATE_HZ)
    delays = both(jittery(SOAK_SECONDS * 50, 0.04, 3), lossy(SOAK_SECONDS * 50, 0.03, 4))
    tracemalloc.start()
    for number, delay in enumerate(delays):
        now = number * 0.02
        if delay is not None:
            payload = payloads[number % len(payloads)]
            player.insert(number & 0xFFFF, number * 960 & 0xFFFFFFFF, payload, now + delay)
        player.pull(RATE_HZ // 50, now + 0.02)
        if number in (3000, len(delays) - 1):
            grown.append(tracemalloc.get_traced_memory()[0])
    tracemalloc.stop()
    growth = (grown[1] - grown[0]) / 1000
    return Row("30 minutes: memory grown", round(growth, 1), "–", None, "≤ 20", "kB", growth <= 20)


def run(quick: bool) -> list[Row]:
    """All traces over one seed, or (not `quick`) over six, ten-minute calls and a soak."""
    seeds = range(1001, 1002 if quick else 1007)
    engines = ("ours", "limit", "stock")
    jobs = [(i, engine, seed) for i in range(len(TRACES)) for engine in engines for seed in seeds]
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        found = list(pool.map(measure, jobs, chunksize=4))
        senders = list(pool.map(sender_row, SENDERS))
        long = [] if quick else list(pool.map(long_rows, LONG))
    table = [mean(found[at : at + len(seeds)]) for at in range(0, len(found), len(seeds))]
    rows: list[Row] = []
    for index, trace in enumerate(TRACES):
        ours, limit, stock = table[3 * index : 3 * index + 3]
        rows += trace_rows(trace, ours, limit if trace.limit_pesq else table[1], stock)
    rows += [*summary_rows(table[::3], table[1]), *senders]
    if not quick:
        rows += [row for rows_of_one in long for row in rows_of_one]
        rows.append(soak_row())
    return rows
