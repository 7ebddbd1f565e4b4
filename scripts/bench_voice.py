"""The voice in a bad network: PESQ and mouth-to-ear delay of the playout beside NetEQ, stock aiortc and a limit.

Every trace is 20 s of espeak-ng speech in four voices, chosen so that the codec alone reaches the PESQ that it had in
the design (3.83); mono Opus at 32 kb/s with FEC; figures are means over the seeds. Ours, stock aiortc and the limit
(a fixed playout whose delay is chosen in hindsight, with libopus' FEC and concealment) play in virtual time; NetEQ
hears the same packets with the same delays in real time. Without `wrtc` the design's figures stand for NetEQ; without
espeak-ng the shipped speech is played, and PESQ is judged against this run's NetEQ or not at all.
"""

import os
import time
import tracemalloc
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache

import neteq
import numpy as np
from bench_common import Row
from voice_engines import RATE_HZ, FixedPlayout, StockPlayout
from voice_link import (
    CODEC_SECONDS,
    FIRST_TIMESTAMP,
    PACKET_SECONDS,
    RTP_CLOCK_HZ,
    Engine,
    Heard,
    Mono,
    both,
    encode,
    has_voices,
    jittery,
    lossy,
    pesq_wb,
    play,
    skewed,
    speech,
    stoi,
)
from voice_traces import LONG, STALL, TRACES, Trace

from rtc_audio.opus import OpusDecoder
from rtc_audio.playout import PlayoutBuffer

SECONDS = 20
LONG_SECONDS, SOAK_SECONDS = 600, 1800
LAST_SAMPLE_MS = 40  # after the target, when the sender stops
NO_VOICES = "the shipped file, as espeak-ng is not here: apt-get install espeak-ng"
SEEDS = range(1001, 1007)


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


def measure(job: tuple[int, str, int]) -> Figures:
    """One engine ("ours", "limit" or "stock") on one seed of the trace with that index."""
    index, name, seed = job
    trace, (pcm, payloads) = TRACES[index], material()
    rate_hz, player = RATE_HZ, PlayoutBuffer(OpusDecoder(RATE_HZ), RATE_HZ, late=trace.late)
    engine: Engine = player
    if name == "limit":
        engine = FixedPlayout(trace.limit_ms / 1000 - CODEC_SECONDS)
    elif name == "stock":
        engine, rate_hz = StockPlayout(), StockPlayout.rate_hz
    delays = trace.delays(len(payloads), seed)
    heard = play(engine, rate_hz, payloads, delays, seed, sender_ppm=trace.sender_ppm)
    return judge(trace, pcm, payloads, heard, player.stats.silence_ms)


def judge(trace: Trace, pcm: Mono, payloads: list[bytes], heard: Heard, silence_ms: float = 0) -> Figures:
    return Figures(
        pesq_wb(pcm, heard),
        stoi(pcm, heard),
        heard.last_second_ms() if trace.last_second else heard.median_ms(),
        heard.last_second_ms() - heard.median_ms(),
        clicks(heard, payloads),
        silence_ms,
    )


def clicks(heard: Heard, payloads: Sequence[bytes]) -> int:
    """10 ms blocks with a second difference that the sent sound nowhere has, half of it on top."""
    decoder = OpusDecoder(heard.rate_hz)
    sent = np.concatenate([decoder.decode(payload) for payload in payloads])
    rough = np.abs(np.diff(heard.pcm, 2)) > 1.5 * np.abs(np.diff(sent, 2)).max()
    return len(np.unique(np.flatnonzero(rough) // (heard.rate_hz // 100)))


NETEQ_TRACES = [trace for trace in TRACES if trace.late == "keep"]


def listen(seeds: Sequence[int]) -> tuple[list[Heard], Row]:
    """What NetEQ plays on all seeds of each of its traces (nothing where it is not here), and how it was served."""
    if (reason := neteq.missing()) is not None:
        return [], Row("NetEQ", reason, "–", None, "–", "", None)
    pcm, payloads = material()
    calls = [
        neteq.Listening(payloads, trace.delays(len(payloads), seed), trace.sender_ppm)
        for trace in NETEQ_TRACES
        for seed in seeds
    ]
    heard, late_seconds = neteq.listen(pcm, calls)
    late_ms = round(late_seconds * 1000, 1)
    served = ("NetEQ's packets sent late, 99th percentile", "–", late_ms, None, "≤ 3", "ms")
    return heard, Row(*served, late_ms <= 3)


def judge_neteq(job: tuple[int, Heard]) -> Figures:
    """What NetEQ reached on the trace with that index of its own."""
    pcm, payloads = material()
    return judge(NETEQ_TRACES[job[0]], pcm, payloads, job[1])


def mean(figures: Sequence[Figures]) -> Figures:
    names = Figures.__dataclass_fields__
    return Figures(*(float(np.mean([getattr(one, name) for one in figures])) for name in names))


# ---- rows


def trace_rows(
    trace: Trace, ours: Figures, limit: Figures, stock: Figures, heard: Figures | None
) -> list[Row]:
    """PESQ and delay of one trace."""
    where = "last second" if trace.last_second else "median"
    theirs = f"NetEQ {trace.neteq_pesq:.2f} / {trace.neteq_ms:g} in the design"
    if heard is not None:
        theirs = f"NetEQ {heard.pesq:.2f} / {heard.delay_ms:.0f}"
    goal = pesq_goal(trace, heard)
    asked = ("–" if goal is None else f"≥ {goal:.2f}") + f" ({theirs}; limit {limit.pesq:.2f})"
    met = None if goal is None else round(ours.pesq, 2) >= round(goal, 2)
    slow = f"≤ {trace.goal_ms:g}"
    ratio = ours.delay_ms / stock.delay_ms
    delays = (round(ours.delay_ms, 1), round(stock.delay_ms, 1), ratio, slow, "ms")
    return [
        Row(f"{trace.name}: PESQ-WB", round(ours.pesq, 2), round(stock.pesq, 2), None, asked, "MOS", met),
        Row(f"{trace.name}: mouth to ear, {where}", *delays, ours.delay_ms <= trace.goal_ms),
    ]


def pesq_goal(trace: Trace, heard: Figures | None) -> float | None:
    """The PESQ to reach; None if there is none, or none that holds for this speech."""
    if trace.above_neteq is not None and heard is not None:
        return heard.pesq + trace.above_neteq
    if not has_voices():
        return None
    return trace.goal_pesq if trace.above_neteq is None else trace.neteq_pesq + trace.above_neteq


def summary_rows(ours: Sequence[Figures], clean_limit: Figures) -> list[Row]:
    """What holds over all traces."""
    drift = next(one.drift_ms for trace, one in zip(TRACES, ours, strict=True) if "ppm" in trace.name)
    calm = [one.silence_ms for trace, one in zip(TRACES, ours, strict=True) if STALL not in trace.name]
    clicks_each = float(np.mean([one.clicks for one in ours]))
    least = clean_limit.stoi - 0.01
    drifted = ("+500 ppm: last second against median", round(drift, 1), "–", None, "±10", "ms")
    clear = ("STOI, clean", ours[0].stoi, "–", None, f"≥ {least:.3f} (limit)", "")
    return [
        Row(*drifted, abs(drift) <= 10),
        Row("silence put in, worst trace without stalls", round(max(calm), 1), "–", None, "–", "ms", None),
        Row("clicks in 20 s, mean", round(clicks_each, 2), "–", None, "≤ 1", "", clicks_each <= 1),
        Row(*clear, ours[0].stoi >= least),
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


def cost_rows() -> list[Row]:
    """CPU time of the playout on a clean call, without and with drift, beside decoding alone, all in turn."""
    _, payloads = material()
    count, found = len(payloads), dict[float | None, list[float]]()
    for _ in range(5):
        for ppm in (None, 0.0, 100.0):
            decoder = OpusDecoder(RATE_HZ)
            if ppm is None:
                started = time.thread_time()
                for payload in payloads:
                    decoder.decode(payload)
                cost = (time.thread_time() - started) / (2 * count) * 1e6
            else:
                sent, player = payloads * 4, PlayoutBuffer(decoder, RATE_HZ)
                cost = play(player, RATE_HZ, sent, skewed(4 * count, ppm), 1, sender_ppm=ppm).microseconds
            found.setdefault(ppm, []).append(cost)
    alone, steady, drifting = (float(np.median(costs)) for costs in found.values())
    rows = []
    for name, cost in (("", steady), (", clock +100 ppm", drifting)):
        figures = (round(cost, 1), f"{alone:.1f} (decode)", cost / alone)
        rows.append(
            Row(f"insert, decode and pull, 24 kHz{name}", *figures, "≤ 60", "µs per 10 ms", cost <= 60)
        )
    return rows


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


def long_row(index: int) -> Row:
    """Ten minutes of one network: delay, silence put in, clicks, and when the last sample is out."""
    call, (_, payloads) = LONG[index], material()
    count = LONG_SECONDS * 50
    player, delays = PlayoutBuffer(OpusDecoder(RATE_HZ), RATE_HZ), call.delays(count)
    sent = [payloads[i % len(payloads)] for i in range(count)]
    heard = play(player, RATE_HZ, sent, delays, 1, sender_ppm=call.sender_ppm, paused="pauses" in call.name)
    late_ms = last_sample_ms(player, heard)
    known = heard.delay_ms[100:-100]  # a fast sender is done early
    median, average, worst = float(np.median(known)), float(known.mean()), float(known.max())
    share, rough = player.stats.silence_ms / LONG_SECONDS / 1000, clicks(heard, payloads)
    text = (
        f"{median:.0f} median, {average:.0f} mean, {worst:.0f} worst; {share:.2%} silence; {rough} clicks; "
    )
    asked = f"≤ {call.median_ms:g} median, {call.worst_ms:g} worst; {call.silence_share:.1%}; 30; {LAST_SAMPLE_MS}"
    met = median <= call.median_ms and worst <= call.worst_ms and share <= call.silence_share
    met = met and rough <= 30 and late_ms <= LAST_SAMPLE_MS
    last = f"end {late_ms:+.0f} of target"
    return Row(f"10 minutes, {call.name}", text + last, "–", None, asked, "ms", met)


def last_sample_ms(player: PlayoutBuffer, heard: Heard) -> float:
    """How long after the last packet and the target its last sample was out, when nothing more comes."""
    arrived, number = heard.last
    end = (number + 1) * PACKET_SECONDS - 1e-6
    pulls = int(np.searchsorted(heard.media_seconds, end))
    while pulls >= len(heard.media_seconds) and player.media_seconds - FIRST_TIMESTAMP / RTP_CLOCK_HZ < end:
        player.pull(RATE_HZ // 100, heard.first_pull + pulls * 0.01)
        pulls += 1
    return (heard.first_pull + pulls * 0.01 - arrived - player.target_seconds) * 1000


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
    seeds = SEEDS[:1] if quick else SEEDS
    heard, served = listen(seeds)  # first, while the machine is quiet
    costs = cost_rows()
    listened = [(at // len(seeds), one) for at, one in enumerate(heard)]
    engines = ("ours", "limit", "stock")
    jobs = [(i, engine, seed) for i in range(len(TRACES)) for engine in engines for seed in seeds]
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        found = list(pool.map(measure, jobs, chunksize=4))
        judged = list(pool.map(judge_neteq, listened))
        senders = list(pool.map(sender_row, SENDERS))
        long = [] if quick else [*pool.map(long_row, range(len(LONG))), pool.submit(soak_row).result()]
    table = [mean(found[at : at + len(seeds)]) for at in range(0, len(found), len(seeds))]
    browser = {
        trace.name: mean(judged[at * len(seeds) : (at + 1) * len(seeds)])
        for at, trace in enumerate(NETEQ_TRACES if judged else [])
    }
    rows = [] if has_voices() else [Row("speech", NO_VOICES, "–", None, "–", "", None)]
    for index, trace in enumerate(TRACES):
        ours, limit, stock = table[3 * index : 3 * index + 3]
        rows += trace_rows(trace, ours, limit, stock, browser.get(trace.name))
    return [*rows, served, *summary_rows(table[::3], table[1]), *costs, *senders, *long]
